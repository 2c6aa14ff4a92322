// The library's own codecs, by spec, as the golden tests' Codec: encoded to bytes and decoded again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "laconic/compressors/codec_registry.h"
#include "tests/golden/reference.h"

namespace laconic::golden {

inline std::shared_ptr<const Compressor> MakeCodec(std::string_view spec) {
  absl::StatusOr<std::shared_ptr<const Compressor>> codec = CodecRegistry::BuiltIn().Create(spec);
  if (!codec.ok()) {
    ADD_FAILURE() << codec.status();
    return CodecRegistry::BuiltIn().Create("identity").value();
  }
  return *codec;
}

// The codec of `spec` on vectors of d elements; ranks draw independently from `seed`.
inline Codec<float> Encoded(std::string_view spec, size_t elements, uint64_t seed = 0) {
  const Shape shape = Shape::Flat(elements);
  std::shared_ptr<const Compressor> codec = MakeCodec(spec);
  auto body = std::make_shared<std::vector<std::byte>>(codec->MaxBodyBytes(shape));
  return [=](size_t rank, uint64_t step, std::span<float> m, std::span<float> sent) {
    const std::vector<float> input(m.begin(), m.end());
    const RngKey key{.seed = seed, .step = step, .rank = static_cast<uint32_t>(rank)};
    const absl::StatusOr<size_t> bytes = codec->EncodeResidual(Message(input), shape, key, m, *body);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    std::fill(sent.begin(), sent.end(), 0.0f);
    const absl::Status decoded = codec->DecodeAdd(std::span(*body).first(*bytes), shape, 1.0f, sent);
    ASSERT_TRUE(decoded.ok()) << decoded;
  };
}

}  // namespace laconic::golden
