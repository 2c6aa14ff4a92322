// What every codec is: a const, stateless, thread-safe map from floats to bytes and back, with claims that proofs may
// use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/rng.h"
#include "laconic/base/shape.h"
#include "laconic/base/state.h"
#include "laconic/compressors/message.h"

namespace laconic {

// What a proof may assume about a codec on tensors of one shape. Absent means not claimed.
// tests/compressors/conformance_test.cc holds every claim as an inequality on Gaussian, heavy-tailed, sparse, constant
// and one-hot data.
struct Traits {
  std::optional<double> delta;  // contractive: E|C(x) - x|^2 <= (1 - delta) |x|^2, 0 < delta <= 1
  std::optional<double> omega;  // unbiased: E C(x) = x and E|C(x) - x|^2 <= omega |x|^2, omega >= 0
  // Every C(x) has max |C(x) - x| <= (1 - max_norm_delta) max |x|, 0 < max_norm_delta <= 1. Weaker than delta where it
  // stands alone, yet enough for error feedback to keep a bounded error (ResolveControl).
  std::optional<double> max_norm_delta;
  bool deterministic = false;   // ignores its RngKey
  bool fixed_size = false;      // every body of this shape has MaxBodyBytes(shape) bytes
  bool linear = false;          // NewLinearSession gives a session
  bool sparse = false;          // decodes to zero but for a few entries, the same share of any data
  double suggested_eta =
      0.05;  // EControl's default feedback weight for this codec (docs/algorithms.md: k/d for sparsifiers)
};

// Codec identity on the wire (docs/payload-format.md). Ids of users' own codecs start at kFirstUserCodec.
enum class CodecId : uint8_t {
  kIdentity = 1,
  kCast = 2,
  kTopK = 3,
  kRandK = 4,
  kSign = 5,
  kQuantize = 6,
  kNatural = 7,
  kLowRank = 8,
  kTurboQuant = 9,
  kComposite = 10,
  kEntropy = 11,
  kFirstUserCodec = 128,
};

// How numbers lie in a body. kBytes: any, seen byte by byte.
enum class NumberFormat : uint8_t { kBytes, kFp16, kBf16, kFp32 };

// A run of numbers in a body, for a stage that knows how to shorten them: entropy(...).
struct NumberSection {
  size_t offset = 0;  // in bytes
  size_t count = 0;
  NumberFormat format = NumberFormat::kBytes;
};

class LinearSession;

// Thread-safe: const and stateless. Work memory comes from base/scratch.h.
class Compressor {
 public:
  virtual ~Compressor() = default;

  virtual CodecId id() const = 0;
  // The canonical spec, defaults written out: "topk(ratio=0.01, values=fp32)". ParseSpec of it gives an equal codec.
  virtual std::string ToString() const = 0;
  virtual Traits traits(const Shape& shape) const = 0;

  // InvalidArgument, with the reason and what to use instead, when this codec cannot take tensors of `shape`.
  virtual absl::Status Supports(const Shape& shape) const { return absl::OkStatus(); }

  // Upper bound on the body of any tensor of `shape`.
  virtual size_t MaxBodyBytes(const Shape& shape) const = 0;

  // Encodes x into the front of `body`; gives the number of bytes written.
  //   x: shape.elements() floats, not modified.   body: at least MaxBodyBytes(shape) bytes, must not alias x.
  // Errors: ResourceExhausted if body is too small; InvalidArgument if x holds a NaN or an infinity (names the first
  // index).
  virtual absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                        std::span<std::byte> body) const = 0;

  // The bytes Encode gives for the message m, which is formed on the way, and what they do not say: residual = m -
  // decode(body), each element rounded once.
  //   message: of shape.elements() floats, not modified.   residual: as many; must not overlap the message's spans or
  //   body; on error its contents are unspecified.
  // Errors: as Encode, of the formed message.
  virtual absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                std::span<float> residual, std::span<std::byte> body) const;

  // acc += scale * decode(body), each element one multiplication and one addition, both rounded, on every machine
  // alike.
  //   body: untrusted, exactly one body.   acc: shape.elements() floats; on error its contents are unspecified.
  // Errors: DataLoss naming what is wrong (index, length, non-finite value), in time linear in body and shape.
  virtual absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                 std::span<float> acc) const = 0;

  // Where the bulk of the numbers lies in a body of body_bytes bytes that Encode gave for a tensor of `shape`; by default
  // all of it, as bytes. Of a length that Encode never gives it may say anything.
  virtual NumberSection Numbers(size_t body_bytes, const Shape& shape) const { return {.count = body_bytes}; }

  // The codec's second face, where it is linear: rounds of floats that may be summed before decoding. nullptr
  // otherwise.
  virtual std::unique_ptr<LinearSession> NewLinearSession(const Shape& shape, const RngKey& init) const;
};

// One tensor on one rank. Holds what lasts between steps (a warm start) and is saved like all state. One thread at a
// time. A step: Begin; for each round Produce, average over ranks, Consume; reconstructions; Commit. A step that is not
// committed changes nothing that lasts: the next Begin drops what it left.
class LinearSession {
 public:
  virtual ~LinearSession() = default;

  virtual int rounds() const = 0;                   // rand-k with a shared seed: 1; low-rank: 2
  virtual size_t RoundFloats(int round) const = 0;  // the same on all ranks
  // step_key: the same on all ranks (RngKey::Shared).   residual: where Produce forms the message and Reconstruct
  // leaves what was not sent, d floats that stay this session's until then; empty if the message is plain and nobody
  // asks.
  virtual void Begin(const RngKey& step_key, std::span<float> residual) = 0;
  // What this rank adds to the sum of `round`.  message: the same in every round of a step; formed in round 0.  out:
  // RoundFloats(round).
  virtual absl::Status Produce(int round, const Message& message, std::span<float> out) = 0;
  // Takes the mean over ranks of what Produce gave. DataLoss if it holds a non-finite value.
  virtual absl::Status Consume(int round, std::span<const float> mean) = 0;
  // After the last round: what this rank's own contribution decodes to (error control subtracts it) and what the mean
  // decodes to. The mean over ranks of the first equals the second up to rounding; the second has the same bits on all
  // ranks.
  virtual void LocalReconstruction(std::span<float> y) const = 0;
  virtual void MeanReconstruction(std::span<float> y) const = 0;
  // Once after the last round: MeanReconstruction(mean) and, if there is a residual, residual <- m -
  // LocalReconstruction, in one pass.
  virtual void Reconstruct(std::span<float> mean) = 0;
  virtual void Commit() = 0;

  virtual void Save(StateWriter& out) const = 0;
  virtual absl::Status Load(const StateReader& in) = 0;
  // Goes on from what a session of another setting of the same codec saved: what fits is taken, the rest stays as it
  // was made. The same on all ranks if what they saved is.
  virtual absl::Status TakeOver(const StateReader& in) { return Load(in); }
};

}  // namespace laconic
