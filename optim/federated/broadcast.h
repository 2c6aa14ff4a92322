// The bytes of a broadcast (docs/payload-format.md, section "A broadcast"):
//
//   kind      1 byte   0: vectors as they are; 1: differences to what the client knows
//   round     8 bytes
//   count     varint   messages; 0: the client knows all
//   messages           each its length as a varint and then a whole model's frame (vector_codec.h). Of kind 0 one a
//                      vector, coded by the identity; of kind 1 one a vector for each round missed, rounds in order
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "compressors/varint.h"
#include "laconic/optim/federated/vector_codec.h"

namespace laconic::internal {

enum class BroadcastKind : uint8_t { kVectors = 0, kDifferences = 1 };

constexpr size_t BroadcastHeaderBytes(size_t messages) { return 1 + 8 + VarintBytes(messages); }

// Appends to `out`.
void PutBroadcastHeader(BroadcastKind kind, uint64_t round, size_t messages, std::vector<std::byte>& out);

// Encodes x as a message and appends it with its length. Gives the message, which lies in `work`.
absl::StatusOr<std::span<const std::byte>> AppendMessage(const VectorCodec& codec, std::span<const float> x,
                                                         const VectorCodec::Origin& origin,
                                                         std::vector<std::byte>& work, std::vector<std::byte>& out);

// Brings `vectors` (of d floats each), as a client knew them after the broadcast of round known - 1 (0: nothing), to
// what it knows with this one. untrusted. DataLoss naming what is wrong; the vectors are unspecified then.
absl::Status ApplyBroadcast(std::span<const std::byte> broadcast, uint64_t round, uint64_t known, uint64_t seed,
                            const VectorCodec& plain, const VectorCodec& downlink,
                            std::span<const std::span<float>> vectors);

}  // namespace laconic::internal
