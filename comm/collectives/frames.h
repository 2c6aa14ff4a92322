// Payload frames of a whole bucket: encoded side by side into memory sized once, sent as one message per destination,
// opened again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "laconic/base/parallel.h"
#include "laconic/base/rng.h"
#include "laconic/comm/collectives/strategy.h"

namespace laconic {

// Calls body(i) for i < count on the pool, where body works on a tensor of elements(i) elements: large ones one after
// another, each shared among the threads (ParallelScope), the others side by side.
void ForEachTensor(WorkerPool* pool, size_t count, absl::FunctionRef<size_t(size_t)> elements,
                   absl::FunctionRef<void(size_t)> body);

// What part `part` of a slot is: the whole tensor (one part), or a shard.
struct FramePart {
  uint32_t part = 0;
  Shape shape;                        // as the codec sees it: the tensor's own when whole, flat for a shard
  const Compressor* codec = nullptr;  // null: the slot's

  const Compressor& CodecOf(const GradientSlot& slot) const { return codec != nullptr ? *codec : *slot.codec; }
};

// Bound on the frames of these parts, one per slot.
size_t MaxFramesBytes(std::span<const GradientSlot> bucket, std::span<const FramePart> parts);

// The frames that go to one destination, one per slot, in order. One thread at a time.
class FrameOutbox {
 public:
  // parts[destination * slots + slot] describes each frame.
  FrameOutbox(std::span<const GradientSlot> bucket, std::vector<FramePart> parts);

  struct EncodeJob {
    uint64_t step = 0;
    RngKey key;  // tensor and stream are filled in; stream = stream_base + part
    uint32_t stream_base = 0;
    bool measure = false;  // sum |m|^2 and |m - C(m)|^2 into the result; then every source needs a residual
  };
  // What a frame is made of.
  struct Source {
    Message message;
    std::span<float> residual;  // where to leave what is not sent; empty: nobody asks, and the message is plain
  };
  // Encodes every frame, from source(destination, slot). In parallel (ForEachTensor); the bytes do not depend on that.
  absl::Status Encode(std::span<const GradientSlot> bucket, const EncodeJob& job,
                      absl::FunctionRef<Source(size_t destination, size_t slot)> source, WorkerPool* pool,
                      BucketResult& result);

  std::span<const std::byte> message(size_t destination) const;  // the frames to that destination
  size_t max_message_bytes() const { return max_message_bytes_; }

 private:
  struct Frame {
    FramePart part;
    size_t offset = 0, bytes = 0;
    absl::Status status;
    double message_norm2 = 0, residual_norm2 = 0;
  };
  void EncodeFrame(std::span<const GradientSlot> bucket, const EncodeJob& job, const Source& source, size_t item);

  size_t slots_;
  size_t max_message_bytes_ = 0;
  std::vector<Frame> frames_;
  std::vector<size_t> begin_, length_;  // of each destination's message in memory_
  std::vector<std::byte> memory_;
};

// Opens the frames of one message, one per slot: checks every header and checksum. bodies[slot] receives the body.
//   parts: one per slot, as the sender's outbox has them.   message: untrusted.
absl::Status OpenFrames(std::span<const std::byte> message, std::span<const GradientSlot> bucket,
                        std::span<const FramePart> parts, uint64_t step, int from_rank,
                        std::span<std::span<const std::byte>> bodies);

// The step's message of one tensor under its control, with a residual where the control or the caller wants one.
FrameOutbox::Source SourceOf(ErrorControl& control, std::span<const float> gradient, float error_scale,
                             bool wants_residual);

// A decoder's error with the tensor and the rank its bytes came from; OK passes through.
absl::Status NamePeer(const absl::Status& status, std::string_view tensor, int from_rank);

}  // namespace laconic
