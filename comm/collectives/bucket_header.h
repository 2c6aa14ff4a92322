// The small header every rank sends before a bucket moves: are all at the same place, is every gradient finite, how
// long are bodies?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/comm/communicator.h"

namespace laconic {

// Fixed layout, little-endian, the same on all ranks.
struct BucketHeader {
  uint64_t fingerprint = 0;  // of step, bucket, phase, tensors and codecs
  uint64_t step = 0;
  uint64_t body_bytes = 0;  // of the message to the rank this header goes to
  uint64_t bad_index = 0;   // first non-finite element of tensor bad_tensor
  uint32_t bucket = 0;
  uint32_t bad_tensor = kNoTensor;
  float bad_value = 0;
  uint32_t failure = 0;  // absl::StatusCode of what went wrong here before the exchange; 0: nothing

  static constexpr uint32_t kNoTensor = 0xffffffffu;
};
static_assert(sizeof(BucketHeader) == 48);

// One per strategy; sized once. One thread at a time.
class HeaderExchange {
 public:
  explicit HeaderExchange(int ranks);

  // Sends `own` to every rank, with body_bytes[j] to rank j, and checks what comes: one Exchange.
  //   own_failure: OK, or why this rank cannot take part; every rank then gets an error that names this one.
  // FailedPrecondition when a rank is at another step, bucket or plan (both are named).
  absl::Status Run(Communicator& comm, BucketHeader own, std::span<const uint64_t> body_bytes,
                   const absl::Status& own_failure, std::span<const GradientSlot> bucket);

  // The bodies that the last Run announced, in one Exchange or, where they are long, one for each distance between
  // ranks: message(to) goes to rank `to`, and inbox[rank] receives
  // rank's, whose length is body_bytes(rank). DataLoss if a rank announced more than its inbox holds. Nothing goes to
  // the own rank, and no message where none was announced.
  absl::Status ExchangeBodies(Communicator& comm, std::span<std::vector<std::byte>> inbox,
                              absl::FunctionRef<std::span<const std::byte>(int to)> message) const;

  // Bytes that rank will send, or has sent, here.
  uint64_t body_bytes(int rank) const { return headers_[rank].body_bytes; }
  // The first finding over ranks, if any rank reported one.
  std::optional<BucketResult::NonFinite> non_finite() const;

 private:
  std::vector<BucketHeader> outgoing_, headers_;
};

// Looks for non-finite elements in this rank's gradients under `policy`: reports the first in `header`, or zeroes and
// counts them.
void InspectGradients(std::span<GradientSlot> bucket, NonFinitePolicy policy, BucketHeader& header,
                      BucketResult& result);

// Runs `encode` over the bucket's gradients, whose codecs refuse messages that are not finite (InvalidArgument). Only
// then, or where such elements are to be zeroed first, are the gradients inspected, in a pass of their own: what that
// finds in `header` takes the place of the error.
absl::Status EncodeFinite(std::span<GradientSlot> bucket, NonFinitePolicy policy, BucketHeader& header,
                          BucketResult& result, absl::FunctionRef<absl::Status()> encode);

// Fingerprint of everything about a bucket that does not change from step to step.
uint64_t BucketFingerprint(std::span<const GradientSlot> bucket, std::string_view strategy, uint32_t bucket_index);

}  // namespace laconic
