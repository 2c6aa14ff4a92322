// An entropy coder of bytes: tabled asymmetric numeral systems (Duda 2013, arXiv:1311.2540), which come within a
// hundredth of a bit of the zero-order entropy even where one symbol has nearly all the probability, where a Huffman
// code would still spend a bit on it.
//
// The state x in [T, 2T), T = 2^table_log, has room for a fraction of a bit. A table of T places is shared among the
// symbols, n_s places for symbol s. Decoding reads the symbol of place x - T, the j-th of its places, and goes to x =
// (n_s + j) 2^b + b fresh bits, b such that x is in [T, 2T) again; encoding does the same backwards, last symbol first.
//
// Eight states take turns, in two bit streams, so that the chains of loads that each makes overlap: symbol i belongs to
// state i mod 8, states 0-3 to stream 0, 4-7 to stream 1. A stream is written from its first bit up and read from its
// last down: above the bits of the last symbols lie those of the first, then the states of symbols 0.., of table_log
// bits each, the lowest state on top, then a one and zeros up to a whole byte. All states begin at T.
//
// All integers: the same bytes on every machine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace laconic::internal {

inline constexpr int kMinTableLog = 5;
inline constexpr int kMaxTableLog = 11;
inline constexpr size_t kMaxTable = size_t{1} << kMaxTableLog;

using Histogram = std::array<uint32_t, 256>;

// histogram[s] = how many symbols are s.
void CountSymbols(std::span<const uint8_t> symbols, Histogram& histogram);

// How the table's 2^log places are shared.
struct SymbolTable {
  int log = 0;
  std::array<uint16_t, 256> places{};  // n_s, 0 where s does not occur; they add up to 2^log

  // The table for symbols counted so, of which there is one at least: n_s near 2^log times the frequency, at least 1.
  static SymbolTable For(const Histogram& histogram, size_t total);
  // What coding the symbols of `histogram` takes, in bits, or up to a tenth of a bit a symbol more.
  uint64_t EstimateBits(const Histogram& histogram) const;
};

// One thread at a time; large (on no stack).
class AnsEncoder {
 public:
  static constexpr size_t MaxStreamBytes(size_t symbols) { return (symbols / 2 + 8) * kMaxTableLog / 8 + 16; }

  void SetTable(const SymbolTable& table);
  // Writes both streams, at the front of s0 and s1; gives their lengths.   s0, s1: MaxStreamBytes(symbols.size()) each.
  std::array<size_t, 2> Encode(std::span<const uint8_t> symbols, std::span<std::byte> s0,
                               std::span<std::byte> s1) const;

 private:
  struct Step {
    uint32_t bits = 0;  // (x + bits) >> 16 is how many bits x gives away before the symbol
    int32_t base = 0;   // and next_[base + what remains] is where it goes
  };

  int log_ = 0;
  std::array<Step, 256> steps_;
  std::array<uint16_t, kMaxTable> next_;
};

// One thread at a time; large (on no stack).
class AnsDecoder {
 public:
  // table: its places add up to 2^log, log in [kMinTableLog, kMaxTableLog].
  void SetTable(const SymbolTable& table);
  // Streams that are not what AnsEncoder writes for symbols.size() symbols are DataLoss, or give some symbols or other.
  absl::Status Decode(std::span<const std::byte> s0, std::span<const std::byte> s1, std::span<uint8_t> symbols) const;

 private:
  struct Place {
    uint16_t base = 0;  // the next state, less T, before its fresh bits
    uint8_t bits = 0;   // how many those are
    uint8_t symbol = 0;
  };

  int log_ = 0;
  std::array<Place, kMaxTable> places_;
};

}  // namespace laconic::internal
