#include "optim/federated/broadcast.h"

#include <algorithm>
#include <array>

#include "fmt/format.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

void AppendVarint(uint64_t value, std::vector<std::byte>& out) {
  std::array<std::byte, 10> bytes;
  ByteWriter writer(bytes);
  PutVarint(writer, value);
  out.insert(out.end(), bytes.begin(), bytes.begin() + writer.written());
}

absl::Status Reject(uint64_t round, const std::string& what) {
  return absl::DataLossError(fmt::format("broadcast of round {}: {}", round, what));
}

// The next message and its length's prefix.
absl::StatusOr<std::span<const std::byte>> TakeMessage(ByteReader& in) {
  LACONIC_ASSIGN_OR_RETURN(const uint64_t bytes, GetVarint(in));
  if (bytes > in.remaining()) {
    return absl::DataLossError(fmt::format("message of {} bytes, but only {} follow", bytes, in.remaining()));
  }
  return in.Take(bytes);
}

}  // namespace

void PutBroadcastHeader(BroadcastKind kind, uint64_t round, size_t messages, std::vector<std::byte>& out) {
  std::array<std::byte, 9> fixed;
  ByteWriter writer(fixed);
  writer.Put(kind);
  writer.Put(round);
  out.insert(out.end(), fixed.begin(), fixed.end());
  AppendVarint(messages, out);
}

absl::StatusOr<std::span<const std::byte>> AppendMessage(const VectorCodec& codec, std::span<const float> x,
                                                         const VectorCodec::Origin& origin,
                                                         std::vector<std::byte>& work, std::vector<std::byte>& out) {
  work.resize(codec.MaxBytes());
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, codec.Encode(x, origin, work, {}));
  AppendVarint(bytes, out);
  const std::span<const std::byte> message = std::span<const std::byte>(work).first(bytes);
  out.insert(out.end(), message.begin(), message.end());
  return message;
}

absl::Status ApplyBroadcast(std::span<const std::byte> broadcast, uint64_t round, uint64_t known, uint64_t seed,
                            const VectorCodec& plain, const VectorCodec& downlink,
                            std::span<const std::span<float>> vectors) {
  ByteReader in(broadcast);
  const auto kind = in.Get<uint8_t>();
  const auto of_round = in.Get<uint64_t>();
  if (!in.ok()) return Reject(round, fmt::format("{} bytes hold no header", broadcast.size()));
  if (kind > static_cast<uint8_t>(BroadcastKind::kDifferences)) return Reject(round, fmt::format("kind {}", kind));
  if (of_round != round) return Reject(round, fmt::format("made for round {}", of_round));
  const absl::StatusOr<uint64_t> count = GetVarint(in);
  if (!count.ok()) return Annotate(count.status(), fmt::format("broadcast of round {}", round));

  const bool whole = kind == static_cast<uint8_t>(BroadcastKind::kVectors);
  if (!whole && (known == 0 || known > round + 1)) {
    return Reject(round, fmt::format("differences, to a client that knows {} rounds", known));
  }
  const uint64_t rounds = whole ? 1 : round + 1 - known;
  if (*count % vectors.size() != 0 || *count / vectors.size() != rounds) {
    return Reject(round, fmt::format("{} messages, expected {} rounds of {}", *count, rounds, vectors.size()));
  }
  for (uint64_t r = round + 1 - rounds; r <= round; ++r) {
    for (uint32_t v = 0; v < vectors.size(); ++v) {
      const absl::StatusOr<std::span<const std::byte>> message = TakeMessage(in);
      if (!message.ok()) return Annotate(message.status(), fmt::format("broadcast of round {}", round));
      if (whole) std::fill(vectors[v].begin(), vectors[v].end(), 0.0f);
      const VectorCodec::Origin origin{.seed = seed, .round = r, .sender = VectorCodec::kServer, .vector = v};
      LACONIC_RETURN_IF_ERROR((whole ? plain : downlink).DecodeAdd(*message, origin, 1.0f, vectors[v]));
    }
  }
  return in.remaining() == 0 ? absl::OkStatus() : Reject(round, fmt::format("{} bytes too many", in.remaining()));
}

}  // namespace laconic::internal
