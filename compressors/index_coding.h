// Compact coding of k strictly ascending indices below d: which coordinates a sparse message speaks of.
//
// What is coded are the gaps g_0 = i_0, g_j = i_j - i_{j-1} - 1. An encoding is one tag byte (form in the two high
// bits, parameter in the six low ones) and a bit stream, least significant bit first, padded with zeros to whole bytes:
//
//   form 0  bitmap   d bits, bit i set if i is coded (parameter 0)
//   form 1  packed   blocks of 128 gaps: the width w of the widest gap in 7 bits, then every gap in w bits (parameter
//   0) form 2  Rice     per gap q = g >> m zero bits and a one, then the low m bits of g (parameter m; Rice 1979)
//
// k = 0 and k = d have one possible value and take no bytes at all. The encoder computes the exact length of every form
// from the gaps and writes the shortest. Uniformly random indices cost at most 1.05 log2 C(d, k) + 64 bits at densities
// of 0.1 % to 10 %. Elias-Fano is left out because it never wins: with l low bits it takes k (l + 1) + floor(i_last /
// 2^l) bits, where Rice with m = l takes k (l + 1) + sum floor(g_j / 2^l), and a sum of floors is at most the floor of
// the sum.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "compressors/bit_io.h"

namespace laconic::internal {

enum class IndexForm : uint8_t { kBitmap = 0, kPacked = 1, kRice = 2 };

// How `indices` are coded best.
struct IndexPlan {
  IndexForm form = IndexForm::kBitmap;
  int parameter = 0;
  size_t bytes = 0;  // of the whole encoding, tag included
};

// The shortest encoding of `indices`: strictly ascending and below `elements`. O(k), no allocation.
IndexPlan PlanIndices(std::span<const uint32_t> indices, uint64_t elements);
IndexPlan PlanIndices(std::span<const uint64_t> indices, uint64_t elements);

// No plan for `count` indices below `elements` takes more bytes than this.
size_t MaxIndexBytes(uint64_t count, uint64_t elements);

// Writes the encoding; out: exactly plan.bytes bytes.
void EncodeIndices(std::span<const uint32_t> indices, uint64_t elements, const IndexPlan& plan,
                   std::span<std::byte> out);
void EncodeIndices(std::span<const uint64_t> indices, uint64_t elements, const IndexPlan& plan,
                   std::span<std::byte> out);

// Reads an untrusted encoding of exactly `count` indices, a chunk at a time, in time linear in bytes and count and
// without memory. Every index it gives is below `elements` and above the one before. One thread at a time; `bytes` must
// outlive it.
class IndexDecoder {
 public:
  static constexpr size_t kChunk = 128;

  // `bytes`: exactly one encoding. count <= elements.
  IndexDecoder(std::span<const std::byte> bytes, uint64_t count, uint64_t elements);

  // The next min(kChunk, indices left) indices, valid until the next call but one; empty when all were given, or an
  // error was met: ask Finish().
  std::span<const uint64_t> Next();

  // After Next() gave an empty span: OK, or DataLoss that says what is wrong: "index 4096 >= 4096 elements".
  absl::Status Finish() const { return status_; }

 private:
  void ReadBitmap(std::span<uint64_t> chunk);
  void ReadPacked(std::span<uint64_t> chunk);
  void ReadRice(std::span<uint64_t> chunk);
  size_t ReadShortCodes(std::span<uint64_t> gaps);
  bool SumGaps(std::span<uint64_t> gaps);
  void NextWord();
  void CheckEnd();
  void Fail(absl::Status status);
  void FailAtEnd(size_t read);

  std::span<const std::byte> bytes_;
  BitReader bits_;
  uint64_t elements_;
  uint64_t count_;
  uint64_t given_ = 0;
  uint64_t next_ = 0;     // the smallest index that may come next
  bool implied_ = false;  // k = 0 or k = d: nothing on the wire
  IndexForm form_ = IndexForm::kBitmap;
  int parameter_ = 0;
  uint64_t word_ = 0;  // bitmap bits not yet given, of the word that starts at word_base_
  uint64_t word_base_ = 0;
  uint64_t bitmap_read_ = 0;                            // bitmap bits loaded into word_ so far
  bool ended_ = false;                                  // the end of the stream was checked
  std::array<std::array<uint64_t, kChunk>, 2> chunks_;  // taking turns
  absl::Status status_;
};

}  // namespace laconic::internal
