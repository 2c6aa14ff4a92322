// The server's end of the downlink: what clients know, and the messages that brought them there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/aligned.h"
#include "laconic/base/state.h"
#include "laconic/optim/federated/vector_codec.h"

namespace laconic::internal {

// Broadcasts of `vectors` vectors of d floats. With the identity they go as they are and nothing is kept. Else it
// keeps, for each, the w that clients know (federation.h), and of the last rounds the messages, as far as all of them
// together are shorter than w itself: beyond that w is what is sent. One thread at a time.
class Downlink {
 public:
  // The codecs must outlive it.
  Downlink(uint64_t seed, const VectorCodec& plain, const VectorCodec& codec, size_t vectors);

  // Opens `round` on the vectors as they are now: says what has changed. An error of the codec is kept and given by
  // Broadcast.
  void Open(uint64_t round, std::span<const std::span<const float>> vectors);

  // FederatedServer::Broadcast and BroadcastBytes of the round opened last.
  //   vectors: as given to Open.
  absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t known, std::span<const std::span<const float>> vectors);
  size_t BroadcastBytes(uint64_t known) const;

  void Save(StateWriter& out) const;
  // On error nothing has changed.
  absl::Status Load(const StateReader& in, uint64_t round);

 private:
  bool SendsDifferences(uint64_t known) const;
  size_t DifferenceBytes(uint64_t known) const;
  size_t WholeBytes() const;
  absl::Status SayDifferences(std::span<const std::span<const float>> vectors);

  const uint64_t seed_;
  const VectorCodec& plain_;
  const VectorCodec& codec_;
  const size_t vectors_;
  uint64_t round_ = 0;
  absl::Status status_;
  std::vector<AlignedVector<float>> known_;      // w, of each vector; none under the identity
  std::deque<std::vector<std::byte>> messages_;  // of rounds up to round_, the last ones; each with its lengths
  size_t message_bytes_ = 0;
  std::vector<std::byte> spare_, work_, broadcast_;
  AlignedVector<float> difference_;
};

}  // namespace laconic::internal
