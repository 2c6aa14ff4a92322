#include "laconic/base/scratch.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

namespace laconic {
namespace {

TEST(Scratch, AnySize_IsThatLongAnd64ByteAligned) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{63}, size_t{1000}, size_t{17}}) {
    const std::span<double> values = Scratch<double>(ScratchUse::kValues, count);
    EXPECT_EQ(values.size(), count);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(values.data()) % 64, 0u);
    for (double& value : values) value = 1;  // writable to the end (address sanitizer)
  }
}

TEST(Scratch, SameUseNoLarger_IsTheSameMemory) {
  const std::byte* large = ScratchBytes(ScratchUse::kBits, 4096).data();
  EXPECT_EQ(ScratchBytes(ScratchUse::kBits, 100).data(), large);
  EXPECT_EQ(ScratchBytes(ScratchUse::kBits, 4096).data(), large);
}

TEST(Scratch, DifferentUses_DoNotOverlap) {
  const std::span<std::byte> a = ScratchBytes(ScratchUse::kMatrixA, 256);
  const std::span<std::byte> b = ScratchBytes(ScratchUse::kMatrixB, 256);
  for (std::byte& byte : a) byte = std::byte{1};
  for (std::byte& byte : b) byte = std::byte{2};
  EXPECT_EQ(a.front(), std::byte{1});
  EXPECT_EQ(a.back(), std::byte{1});
}

TEST(Scratch, DifferentThreads_DoNotShare) {
  const std::byte* mine = ScratchBytes(ScratchUse::kStage, 64).data();
  const std::byte* other = nullptr;
  std::thread([&] { other = ScratchBytes(ScratchUse::kStage, 64).data(); }).join();
  EXPECT_NE(mine, other);
}

TEST(ScratchLease, LeasesAliveTogether_DoNotOverlap) {
  const LeasedScratch<float> outer(1000);
  for (float& value : outer.span()) value = 1;
  for (int repeat = 0; repeat < 2; ++repeat) {
    const LeasedScratch<double> inner(500);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(inner.span().data()) % 64, 0u);
    for (double& value : inner.span()) value = 2;  // writable to the end (address sanitizer)
  }
  for (const float value : outer.span()) EXPECT_EQ(value, 1);
}

TEST(ScratchLease, NextLeaseOfTheSameDepth_IsTheSameMemory) {
  const ScratchLease outer(64);
  const std::byte* first = ScratchLease(4096).bytes().data();
  EXPECT_EQ(ScratchLease(100).bytes().data(), first);
  EXPECT_NE(outer.bytes().data(), first);
}

}  // namespace
}  // namespace laconic
