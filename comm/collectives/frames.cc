#include "comm/collectives/frames.h"

#include <algorithm>
#include <cstring>

#include "compressors/kernels/kernels.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/payload.h"

namespace laconic {
namespace {

constexpr size_t kLargeElements = size_t{1} << 20;  // enough to keep several threads at work

}  // namespace

void ForEachTensor(WorkerPool* pool, size_t count, absl::FunctionRef<size_t(size_t)> elements,
                   absl::FunctionRef<void(size_t)> body) {
  for (size_t i = 0; i < count; ++i) {
    if (elements(i) < kLargeElements) continue;
    const ParallelScope scope(pool);
    body(i);
  }
  ForEach(pool, count, [&](size_t i) {
    if (elements(i) < kLargeElements) body(i);
  });
}

size_t MaxFramesBytes(std::span<const GradientSlot> bucket, std::span<const FramePart> parts) {
  size_t bytes = 0;
  for (size_t slot = 0; slot < bucket.size(); ++slot) {
    bytes += kPayloadHeaderBytes + parts[slot].CodecOf(bucket[slot]).MaxBodyBytes(parts[slot].shape);
  }
  return bytes;
}

FrameOutbox::FrameOutbox(std::span<const GradientSlot> bucket, std::vector<FramePart> parts) : slots_(bucket.size()) {
  const size_t destinations = parts.size() / slots_;
  begin_.resize(destinations);
  length_.resize(destinations);
  size_t offset = 0;
  for (size_t destination = 0; destination < destinations; ++destination) {
    begin_[destination] = offset;
    for (size_t slot = 0; slot < slots_; ++slot) {
      const FramePart& part = parts[destination * slots_ + slot];
      frames_.push_back({.part = part, .offset = offset});
      offset += kPayloadHeaderBytes + part.CodecOf(bucket[slot]).MaxBodyBytes(part.shape);
    }
    max_message_bytes_ = std::max(max_message_bytes_, offset - begin_[destination]);
  }
  memory_.resize(offset);
}

void FrameOutbox::EncodeFrame(std::span<const GradientSlot> bucket, const EncodeJob& job, const Source& source,
                              size_t item) {
  Frame& frame = frames_[item];
  const GradientSlot& tensor = bucket[item % slots_];
  const Compressor& codec = frame.part.CodecOf(tensor);
  const size_t end = item + 1 < frames_.size() ? frames_[item + 1].offset : memory_.size();
  const std::span<std::byte> out = std::span(memory_).subspan(frame.offset, end - frame.offset);
  RngKey key = job.key.WithStream(job.stream_base + frame.part.part);
  key.tensor = Index(tensor.id);
  if (job.measure) {
    source.message.Form(0, source.residual);
    frame.message_norm2 = kernels::SumSquares(source.residual);
  }
  const std::span<std::byte> body = out.subspan(kPayloadHeaderBytes);
  const absl::StatusOr<size_t> body_bytes =
      source.residual.empty() ? codec.Encode(source.message.gradient, frame.part.shape, key, body)
                              : codec.EncodeResidual(source.message, frame.part.shape, key, source.residual, body);
  frame.status = body_bytes.ok() ? absl::OkStatus() : Annotate(body_bytes.status(), "encoding tensor " + tensor.name);
  if (!body_bytes.ok()) return;
  if (job.measure) frame.residual_norm2 = kernels::SumSquares(source.residual);
  const PayloadHeader header{.codec = codec.id(),
                             .tensor = Index(tensor.id),
                             .part = frame.part.part,
                             .step = job.step,
                             .elements = frame.part.shape.elements()};
  frame.bytes = SealPayload(header, *body_bytes, out);
}

absl::Status FrameOutbox::Encode(std::span<const GradientSlot> bucket, const EncodeJob& job,
                                 absl::FunctionRef<Source(size_t, size_t)> source_of, WorkerPool* pool,
                                 BucketResult& result) {
  ForEachTensor(
      pool, frames_.size(), [&](size_t item) { return frames_[item].part.shape.elements(); },
      [&](size_t item) { EncodeFrame(bucket, job, source_of(item / slots_, item % slots_), item); });
  for (const Frame& frame : frames_) LACONIC_RETURN_IF_ERROR(frame.status);
  for (const Frame& frame : frames_) {
    result.message_norm2 += frame.message_norm2;
    result.residual_norm2 += frame.residual_norm2;
  }
  // Frames of one destination become one message: close the gaps between what was reserved and what was used.
  for (size_t destination = 0; destination < begin_.size(); ++destination) {
    size_t end = begin_[destination];
    for (size_t slot = 0; slot < slots_; ++slot) {
      const Frame& frame = frames_[destination * slots_ + slot];
      if (frame.offset != end) std::memmove(memory_.data() + end, memory_.data() + frame.offset, frame.bytes);
      end += frame.bytes;
    }
    length_[destination] = end - begin_[destination];
  }
  return absl::OkStatus();
}

FrameOutbox::Source SourceOf(ErrorControl& control, std::span<const float> gradient, float error_scale,
                             bool wants_residual) {
  FrameOutbox::Source source{.message = control.Prepare(gradient, error_scale), .residual = {}};
  if (wants_residual || !source.message.plain()) source.residual = control.residual();
  return source;
}

std::span<const std::byte> FrameOutbox::message(size_t destination) const {
  return std::span(memory_).subspan(begin_[destination], length_[destination]);
}

absl::Status OpenFrames(std::span<const std::byte> message, std::span<const GradientSlot> bucket,
                        std::span<const FramePart> parts, uint64_t step, int from_rank,
                        std::span<std::span<const std::byte>> bodies) {
  size_t position = 0;
  for (size_t slot = 0; slot < bucket.size(); ++slot) {
    const Compressor& codec = parts[slot].CodecOf(bucket[slot]);
    const PayloadHeader expected{.codec = codec.id(),
                                 .tensor = Index(bucket[slot].id),
                                 .part = parts[slot].part,
                                 .step = step,
                                 .elements = parts[slot].shape.elements()};
    size_t frame_bytes = 0;
    LACONIC_ASSIGN_OR_RETURN(bodies[slot],
                             OpenPayload(message.subspan(position), expected, codec.MaxBodyBytes(parts[slot].shape),
                                         bucket[slot].name, from_rank, &frame_bytes));
    position += frame_bytes;
  }
  if (position != message.size()) {
    return absl::DataLossError(fmt::format("message from rank {}: {} bytes after the last frame (tensor {})", from_rank,
                                           message.size() - position, bucket.back().name));
  }
  return absl::OkStatus();
}

absl::Status NamePeer(const absl::Status& status, std::string_view tensor, int from_rank) {
  if (status.ok()) return status;
  return Annotate(status, fmt::format("payload of tensor {} from rank {}", tensor, from_rank));
}

}  // namespace laconic
