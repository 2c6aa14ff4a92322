// Numbers of one kind, taken apart into a plane that an entropy coder can shorten and planes that it cannot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "laconic/compressors/compressor.h"

namespace laconic::internal {

// kBytes   symbol = the byte                                nothing else
// kBf16    symbol = the 8 exponent bits                     8 bits: sign, mantissa
// kFp32    symbol = the 8 exponent bits                     8 bits: sign, upper 7 of the mantissa; 16 bits: the rest
// kFp16    symbol = sign, 5 exponent bits, upper 2 of the   8 bits: the rest of the mantissa
//          mantissa: whole bytes, and hardly more bits than the exponent alone and the three others as they are
size_t BytesOf(NumberFormat format);

// What the raw planes take of `count` numbers.
inline size_t RawBytes(NumberFormat format, size_t count) { return (BytesOf(format) - 1) * count; }

// symbols_i of number i.   values: BytesOf(format) * symbols.size() bytes.
void SplitSymbols(NumberFormat format, std::span<const std::byte> values, std::span<uint8_t> symbols);
// Are all numbers with symbol 0 zero, every bit of them?
bool ZeroSymbolsAreZeros(NumberFormat format, std::span<const std::byte> values, std::span<const uint8_t> symbols);

// The raw planes one after another, the 8 bits first. Numbers with symbol 0 are left out if told so (then `raw` has
// room for the others). `raw`: RawBytes(format, numbers written).
void SplitRaw(NumberFormat format, std::span<const std::byte> values, std::span<const uint8_t> symbols,
              bool leave_out_zeros, std::span<std::byte> raw);
// The numbers again; those left out are zero.
void JoinNumbers(NumberFormat format, std::span<const uint8_t> symbols, std::span<const std::byte> raw,
                 bool left_out_zeros, std::span<std::byte> values);

}  // namespace laconic::internal
