// The oracle of rotation.h: every kernel in its obvious form.
#pragma once

#include "compressors/kernels/rotation.h"

namespace laconic::kernels::scalar {

void ScaleAndRotate(std::span<const float> x, float up, float steps, std::span<const uint32_t> signs,
                    std::span<float> out);
void Rotate(std::span<const uint32_t> signs, std::span<float> x);
void RotateBack(std::span<const uint32_t> signs, std::span<float> x);
void RoundToCodebook(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes);
Fit RoundToCodebookAndFit(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes);
void LookUpCodebook(const Codebook& codebook, std::span<const uint8_t> codes, std::span<float> z);
void SubtractScaled(std::span<const float> x, std::span<const float> v, const Scale& scale, const Sink& sink);
void AddScaled(std::span<const float> v, const Scale& scale, float weight, std::span<float> acc);

}  // namespace laconic::kernels::scalar
