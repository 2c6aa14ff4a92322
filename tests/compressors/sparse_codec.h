// What the tests of topk and randk share: a codec from its spec, and a message as a receiver sees it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "laconic/compressors/codec_registry.h"
#include "tests/base/matchers.h"

namespace laconic {

inline absl::StatusOr<std::shared_ptr<const Compressor>> Create(const CodecInfo& info, const std::string& spec) {
  const absl::StatusOr<SpecCall> call = ParseSpecCall(spec);
  if (!call.ok()) return call.status();
  return info.create(*call, CodecRegistry());
}

inline std::vector<std::byte> EncodeBody(const Compressor& codec, std::span<const float> x, const RngKey& key = {}) {
  const Shape shape = Shape::Flat(x.size());
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  const absl::StatusOr<size_t> body_bytes = codec.Encode(x, shape, key, body);
  EXPECT_THAT(body_bytes, IsOk());
  body.resize(body_bytes.value_or(0));
  return body;
}

inline absl::StatusOr<std::vector<float>> DecodeBody(const Compressor& codec, std::span<const std::byte> body,
                                                     size_t elements) {
  std::vector<float> y(elements);
  if (absl::Status status = codec.DecodeAdd(body, Shape::Flat(elements), 1, y); !status.ok()) return status;
  return y;
}

inline std::vector<float> RoundTrip(const Compressor& codec, std::span<const float> x, const RngKey& key = {}) {
  return *DecodeBody(codec, EncodeBody(codec, x, key), x.size());
}

// What EncodeResidual leaves; its bytes must be Encode's.
inline std::vector<float> Residual(const Compressor& codec, std::span<const float> x, const RngKey& key = {}) {
  std::vector<float> residual(x.size());
  const Shape shape = Shape::Flat(x.size());
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  const absl::StatusOr<size_t> body_bytes = codec.EncodeResidual(x, shape, key, residual, body);
  EXPECT_THAT(body_bytes, IsOk());
  body.resize(body_bytes.value_or(0));
  EXPECT_EQ(body, EncodeBody(codec, x, key));
  return residual;
}

// What EncodeResidual gives for a message.
struct BodyAndResidual {
  std::vector<std::byte> body;
  std::vector<float> residual;
  bool operator==(const BodyAndResidual&) const = default;
};
inline BodyAndResidual EncodeWithResidual(const Compressor& codec, const Message& message, const RngKey& key = {}) {
  const Shape shape = Shape::Flat(message.size());
  BodyAndResidual both{std::vector<std::byte>(codec.MaxBodyBytes(shape)), std::vector<float>(message.size())};
  const absl::StatusOr<size_t> body_bytes = codec.EncodeResidual(message, shape, key, both.residual, both.body);
  EXPECT_THAT(body_bytes, IsOk());
  both.body.resize(body_bytes.value_or(0));
  return both;
}

}  // namespace laconic
