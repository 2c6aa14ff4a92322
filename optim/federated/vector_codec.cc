#include "laconic/optim/federated/vector_codec.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "compressors/frame.h"
#include "compressors/varint.h"
#include "fmt/format.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"

namespace laconic {
namespace {

using internal::VarintBytes;

// The codecs of a spec's rules, in order.
absl::StatusOr<std::vector<std::shared_ptr<const Compressor>>> RuleCodecs(std::span<const SpecRule> rules,
                                                                          const CodecRegistry& registry) {
  std::vector<std::shared_ptr<const Compressor>> codecs;
  for (const SpecRule& rule : rules) {
    if (rule.pipeline.size() > 1) {
      return SpecError(rule.pipeline[1].column,
                       fmt::format("a codec stands alone here, without +{}: error control is the federated method's",
                                   rule.pipeline[1].name));
    }
    LACONIC_ASSIGN_OR_RETURN(auto codec, registry.Create(rule.pipeline.front()));
    codecs.push_back(std::move(codec));
  }
  return codecs;
}

std::string CanonicalSpec(std::span<const SpecRule> rules, std::span<const std::shared_ptr<const Compressor>> codecs) {
  if (rules.size() == 1 && rules.front().pattern == "*") return codecs.front()->ToString();
  std::string text;
  for (size_t r = 0; r < rules.size(); ++r) {
    text += fmt::format("{}{}: {}", r == 0 ? "" : "; ", rules[r].pattern, codecs[r]->ToString());
  }
  return text;
}

std::string SenderName(uint32_t sender) {
  return sender == VectorCodec::kServer ? "the server" : fmt::format("client {}", sender);
}

RngKey DrawKey(const VectorCodec::Origin& origin, size_t tensor) {
  return {.seed = origin.seed,
          .step = origin.round,
          .tensor = static_cast<uint32_t>(tensor),
          .rank = origin.sender,
          .stream = origin.vector};
}

std::optional<double> Contraction(const Traits& traits) {
  if (traits.delta) return traits.delta;
  if (traits.omega && *traits.omega < 1) return 1 - *traits.omega;
  return std::nullopt;
}

// The lesser, or greater, of two claims; none where either is missing.
std::optional<double> Least(std::optional<double> a, std::optional<double> b) {
  return a && b ? std::optional(std::min(*a, *b)) : std::nullopt;
}
std::optional<double> Greatest(std::optional<double> a, std::optional<double> b) {
  return a && b ? std::optional(std::max(*a, *b)) : std::nullopt;
}

}  // namespace

absl::StatusOr<VectorCodec> VectorCodec::Create(std::string_view spec, std::span<const Parameter> parameters,
                                                size_t min_elements, const CodecRegistry& registry) {
  if (parameters.empty()) return absl::InvalidArgumentError("a model has at least one tensor");
  LACONIC_ASSIGN_OR_RETURN(const std::vector<SpecRule> rules, ParseSpec(spec));
  LACONIC_ASSIGN_OR_RETURN(const auto codecs, RuleCodecs(rules, registry));
  LACONIC_ASSIGN_OR_RETURN(const std::shared_ptr<const Compressor> identity, registry.Create("identity"));

  VectorCodec whole;
  whole.spec_ = CanonicalSpec(rules, codecs);
  whole.max_bytes_ = kPayloadHeaderBytes;
  for (const Parameter& parameter : parameters) {
    size_t r = 0;
    while (r < rules.size() && !MatchesPattern(rules[r].pattern, parameter.name)) ++r;
    if (r == rules.size()) {
      return absl::InvalidArgumentError(
          fmt::format("no rule of the spec matches tensor {}; end the spec with \"; *: identity\"", parameter.name));
    }
    const bool plain = parameter.shape.elements() < min_elements || !codecs[r]->Supports(parameter.shape).ok();
    Tensor tensor{.name = parameter.name, .shape = parameter.shape, .codec = plain ? identity : codecs[r]};
    tensor.max_body_bytes = tensor.codec->MaxBodyBytes(tensor.shape);
    whole.elements_ += tensor.shape.elements();
    whole.max_bytes_ += VarintBytes(tensor.max_body_bytes) + tensor.max_body_bytes;
    whole.identity_ = whole.identity_ && tensor.codec->id() == CodecId::kIdentity;
    whole.tensors_.push_back(std::move(tensor));
  }
  return whole;
}

Traits VectorCodec::traits() const {
  Traits whole = tensors_.front().codec->traits(tensors_.front().shape);
  whole.delta = Contraction(whole);
  whole.linear = false;
  for (const Tensor& tensor : tensors_) {
    const Traits traits = tensor.codec->traits(tensor.shape);
    whole.delta = Least(whole.delta, Contraction(traits));
    whole.omega = Greatest(whole.omega, traits.omega);
    whole.max_norm_delta = Least(whole.max_norm_delta, traits.max_norm_delta);
    whole.deterministic &= traits.deterministic;
    whole.fixed_size &= traits.fixed_size;
    whole.sparse &= traits.sparse;
    whole.suggested_eta = std::min(whole.suggested_eta, traits.suggested_eta);
  }
  return whole;
}

PayloadHeader VectorCodec::Header(const Origin& origin) const {
  return {.codec = tensors_.front().codec->id(),
          .tensor = 0xffffffff - origin.vector,
          .part = origin.sender,
          .step = origin.round,
          .elements = elements_};
}

absl::StatusOr<size_t> VectorCodec::Encode(std::span<const float> x, const Origin& origin, std::span<std::byte> message,
                                           std::span<float> decoded) const {
  if (x.size() != elements_) {
    return absl::InvalidArgumentError(fmt::format("{} floats for a model of {}", x.size(), elements_));
  }
  if (message.size() < max_bytes_) {
    return absl::ResourceExhaustedError(fmt::format("room for {} bytes, needs {}", message.size(), max_bytes_));
  }
  if (!decoded.empty() && !identity_) std::fill(decoded.begin(), decoded.end(), 0.0f);
  const std::span<std::byte> body = message.subspan(kPayloadHeaderBytes);
  size_t written = 0, first = 0;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const Tensor& tensor = tensors_[t];
    const size_t elements = tensor.shape.elements();
    const size_t room_for_length = VarintBytes(tensor.max_body_bytes);
    const std::span<std::byte> tensor_body = body.subspan(written + room_for_length, tensor.max_body_bytes);
    const absl::StatusOr<size_t> bytes =
        tensor.codec->Encode(x.subspan(first, elements), tensor.shape, DrawKey(origin, t), tensor_body);
    if (!bytes.ok()) return Annotate(bytes.status(), fmt::format("tensor {}", tensor.name));
    if (!decoded.empty() && !identity_) {
      LACONIC_RETURN_IF_ERROR(
          tensor.codec->DecodeAdd(tensor_body.first(*bytes), tensor.shape, 1.0f, decoded.subspan(first, elements)));
    }
    const size_t length_bytes = VarintBytes(*bytes);
    if (length_bytes < room_for_length) {
      std::memmove(body.data() + written + length_bytes, tensor_body.data(), *bytes);
    }
    ByteWriter length(body.subspan(written, length_bytes));
    internal::PutVarint(length, *bytes);
    written += length_bytes + *bytes;
    first += elements;
  }
  if (!decoded.empty() && identity_) std::copy(x.begin(), x.end(), decoded.begin());
  return SealPayload(Header(origin), written, message);
}

absl::Status VectorCodec::DecodeAdd(std::span<const std::byte> message, const Origin& origin, float scale,
                                    std::span<float> acc) const {
  if (acc.size() != elements_) {
    return absl::InvalidArgumentError(fmt::format("{} floats for a model of {}", acc.size(), elements_));
  }
  const auto whose = [&] { return fmt::format("round {} from {}", origin.round, SenderName(origin.sender)); };
  LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> body,
                           internal::OpenFrame(message, Header(origin), max_bytes_ - kPayloadHeaderBytes, whose));
  const auto in_tensor = [&](const absl::Status& status, const Tensor& tensor) {
    return Annotate(status, fmt::format("payload of {}, tensor {}", whose(), tensor.name));
  };
  ByteReader in(body);
  size_t first = 0;
  for (const Tensor& tensor : tensors_) {
    const size_t elements = tensor.shape.elements();
    const absl::StatusOr<uint64_t> bytes = internal::GetVarint(in);
    if (!bytes.ok()) return in_tensor(bytes.status(), tensor);
    if (*bytes > tensor.max_body_bytes || *bytes > in.remaining()) {
      return in_tensor(absl::DataLossError(fmt::format("body of {} bytes, at most {} expected and {} left", *bytes,
                                                       tensor.max_body_bytes, in.remaining())),
                       tensor);
    }
    const absl::Status status =
        tensor.codec->DecodeAdd(in.Take(*bytes), tensor.shape, scale, acc.subspan(first, elements));
    if (!status.ok()) return in_tensor(status, tensor);
    first += elements;
  }
  return in.Finish("a whole model's body");
}

}  // namespace laconic
