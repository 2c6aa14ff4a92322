// Any bytes given to a federated server as an update, and to a client as a broadcast: finite numbers, or DataLoss;
// never anything else. The first byte chooses codec and reader; bodies are sealed where it says so, since no fuzzer
// finds a checksum.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "laconic/compressors/payload.h"
#include "laconic/optim/federated/vector_codec.h"
#include "optim/federated/broadcast.h"

namespace {

using laconic::VectorCodec;

constexpr uint64_t kRound = 7;

const std::vector<laconic::Parameter>& Model() {
  static const std::vector<laconic::Parameter> model = {{.name = "fc.weight", .shape = laconic::Shape({4, 5})},
                                                        {.name = "fc.bias", .shape = laconic::Shape({4})},
                                                        {.name = "empty", .shape = laconic::Shape({0})}};
  return model;
}

const std::vector<VectorCodec>& Codecs() {
  static const auto* const codecs = [] {
    auto* made = new std::vector<VectorCodec>;
    for (const char* spec : {"identity", "topk(k=3)", "quantize(bits=2, rounding=stochastic)",
                             "*.weight: composite(topk(k=2), sign); *: entropy(cast(to=bf16))"}) {
      made->push_back(*VectorCodec::Create(spec, Model()));
    }
    return made;
  }();
  return *codecs;
}

// The body in a whole model's frame.
std::vector<std::byte> Seal(std::span<const std::byte> body, const VectorCodec& codec,
                            const VectorCodec::Origin& origin) {
  // The codec of the first tensor is in every message it encodes.
  std::vector<std::byte> frame(codec.MaxBytes());
  const std::vector<float> zeros(codec.elements());
  if (!codec.Encode(zeros, origin, frame, {}).ok()) std::abort();
  const auto id = static_cast<laconic::CodecId>(frame[5]);
  frame.resize(laconic::kPayloadHeaderBytes);
  frame.insert(frame.end(), body.begin(), body.end());
  laconic::SealPayload({.codec = id,
                        .tensor = 0xffffffff - origin.vector,
                        .part = origin.sender,
                        .step = origin.round,
                        .elements = codec.elements()},
                       body.size(), frame);
  return frame;
}

void Check(const absl::Status& status, std::span<const float> decoded) {
  if (status.ok()) {
    for (const float x : decoded) {
      if (!std::isfinite(x)) std::abort();
    }
  } else if (status.code() != absl::StatusCode::kDataLoss) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data + 1, size - 1));
  const VectorCodec& codec = Codecs()[data[0] % Codecs().size()];
  const bool sealed = (data[0] & 0x40) != 0, broadcast = (data[0] & 0x80) != 0;
  std::vector<float> x(codec.elements()), c(codec.elements());
  if (!broadcast) {
    const VectorCodec::Origin origin{.seed = 1, .round = kRound, .sender = 3};
    const std::vector<std::byte> frame = sealed ? Seal(bytes, codec, origin) : std::vector(bytes.begin(), bytes.end());
    Check(codec.DecodeAdd(frame, origin, 1, x), x);
    return 0;
  }
  std::vector<std::byte> message(bytes.begin(), bytes.end());
  if (sealed) {  // differences of one round, the second vector's as the fuzzer has them
    message.clear();
    std::vector<std::byte> work;
    laconic::internal::PutBroadcastHeader(laconic::internal::BroadcastKind::kDifferences, kRound, 2, message);
    VectorCodec::Origin origin{.seed = 1, .round = kRound, .sender = VectorCodec::kServer};
    if (!laconic::internal::AppendMessage(codec, x, origin, work, message).ok()) std::abort();
    origin.vector = 1;
    const std::vector<std::byte> frame = Seal(bytes, codec, origin);
    for (size_t left = frame.size(); true; left >>= 7) {
      message.push_back(static_cast<std::byte>((left & 0x7f) | (left >= 0x80 ? 0x80 : 0)));
      if (left < 0x80) break;
    }
    message.insert(message.end(), frame.begin(), frame.end());
  }
  const std::vector<std::span<float>> vectors = {x, c};
  const absl::Status status =
      laconic::internal::ApplyBroadcast(message, kRound, /*known=*/kRound, 1, Codecs()[0], codec, vectors);
  Check(status, x);
  Check(status, c);
  return 0;
}
