// The oracle: every kernel of kernels.h in its obvious form, with the same signature and the same meaning.
#pragma once

#include "compressors/kernels/kernels.h"

namespace laconic::kernels::scalar {

size_t FirstNonFinite(std::span<const float> x);
float AbsMax(std::span<const float> x);
double SumAbs(std::span<const float> x);
double SumSquares(std::span<const float> x);
size_t CountZeros(std::span<const float> x);
void FormRun(const Message& message, size_t first, std::span<float> out);
float FormRunAbsMax(const Message& message, size_t first, std::span<float> out);
double FormRunSumSquares(const Message& message, size_t first, std::span<float> out);
Magnitudes FormRunMagnitudes(const Message& message, size_t first, std::span<float> out);
void StoreRun(std::span<const float> run, const Sink& sink);
void FinishStores();
void ScaleAdd(std::span<const float> y, float scale, std::span<float> acc);
void PackSigns(std::span<const float> x, std::span<std::byte> bits);
void PackSignsAndSubtract(std::span<const float> x, float value, std::span<std::byte> bits, const Sink& sink);
void PackSignsAndSubtractFromNonZeros(std::span<const float> x, float value, std::span<std::byte> bits,
                                      const Sink& sink);
void AddSigned(std::span<const std::byte> signs, float value, std::span<float> acc);
void AddSignedWhere(std::span<const std::byte> signs, std::span<const std::byte> non_zeros, float value,
                    std::span<float> acc);
void QuantizeNearest(std::span<const float> x, const Levels& levels, std::span<uint8_t> codes, const Sink& sink);
void QuantizeStochastic(std::span<const float> x, const Levels& levels, std::span<const uint32_t> words,
                        std::span<uint8_t> codes, const Sink& sink);
void DequantizeAdd(std::span<const uint8_t> codes, float gain, float norm, float scale, std::span<float> acc);
void PackCodes(std::span<const uint8_t> codes, int bits, std::span<std::byte> packed);
void UnpackCodes(std::span<const std::byte> packed, int bits, std::span<uint8_t> codes);
size_t FirstAbove(std::span<const uint8_t> codes, uint8_t limit);
void RandomWords(uint64_t key, uint64_t first, std::span<uint32_t> words);
void RoundToPowersOfTwo(std::span<const float> x, std::span<const uint32_t> words, std::span<uint8_t> exponents,
                        const Sink& sink);
void AddPowersOfTwo(std::span<const uint8_t> exponents, std::span<const std::byte> signs, float scale,
                    std::span<float> acc);
void ToHalves(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink);
void FromHalves(std::span<const uint16_t> x, int exponent, std::span<float> y);
void ToBfloat16s(std::span<const float> x, int exponent, float limit, std::span<uint16_t> y, const Sink& sink);
void FromBfloat16s(std::span<const uint16_t> x, int exponent, std::span<float> y);

}  // namespace laconic::kernels::scalar
