#include "compressors/permutation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <numeric>
#include <utility>

#include "laconic/base/rng.h"

namespace laconic::internal {
namespace {

uint64_t CeilSqrt(uint64_t value) {
  auto root = static_cast<uint64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root < value) ++root;
  while (root > 0 && (root - 1) * (root - 1) >= value) --root;
  return root;
}

// Sorts numbers below 2^bits, least significant digit first, using `work`, as long as they are. The result may lie in
// either: gives which.
std::span<uint32_t> RadixSort(std::span<uint32_t> numbers, std::span<uint32_t> work, int bits) {
  constexpr int kMostDigitBits = 11;
  const int digits = (bits + kMostDigitBits - 1) / kMostDigitBits;
  const int digit_bits = digits == 0 ? 0 : (bits + digits - 1) / digits;
  std::array<uint32_t, 1 << kMostDigitBits> ends;
  const uint32_t mask = (uint32_t{1} << digit_bits) - 1;
  for (int digit = 0; digit < digits; ++digit) {
    const int shift = digit * digit_bits;
    ends.fill(0);
    for (const uint32_t number : numbers) ++ends[(number >> shift) & mask];
    std::exclusive_scan(ends.begin(), ends.end(), ends.begin(), uint32_t{0});
    for (const uint32_t number : numbers) work[ends[(number >> shift) & mask]++] = number;
    std::swap(numbers, work);
  }
  return numbers;
}

}  // namespace

KeyedPermutation::KeyedPermutation(uint64_t derived_key, uint64_t elements) : elements_(elements) {
  assert(elements >= 1 && elements <= kMaxElements);
  const uint64_t rows = CeilSqrt(elements);
  network_.rows = static_cast<uint32_t>(rows);
  network_.columns = static_cast<uint32_t>(elements / rows + (elements % rows != 0));
  CounterRng::FromDerivedKey(derived_key).Words(0, network_.round_keys);
}

void KeyedPermutation::Images(uint64_t first, std::span<uint32_t> images) const {
  kernels::FeistelImages(network_, static_cast<uint32_t>(first), images);
  for (uint32_t& image : images) {
    while (image >= elements_) kernels::FeistelImages(network_, image, std::span(&image, 1));
  }
}

void DrawPositions(uint64_t derived_key, uint64_t elements, std::span<uint32_t> positions, std::span<uint32_t> work) {
  assert(positions.size() <= elements && work.size() == positions.size());
  if (positions.size() == elements) {
    std::iota(positions.begin(), positions.end(), uint32_t{0});
  } else if (!positions.empty()) {
    KeyedPermutation(derived_key, elements).Images(0, positions);
    const std::span<uint32_t> sorted = RadixSort(positions, work, std::bit_width(elements - 1));
    if (sorted.data() != positions.data()) std::copy(sorted.begin(), sorted.end(), positions.begin());
  }
}

}  // namespace laconic::internal
