// Which instruction set the kernels use: its name for tools to print, and its choice for tests.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace laconic {

// The instruction set that kernels run on here: "AVX3", "NEON", ...
std::string_view KernelTarget();

namespace kernels {

// Bits that stand for the targets that were compiled and that this CPU can run, best first. For tests.
std::vector<int64_t> RunnableTargets();
std::string_view TargetName(int64_t target);

// While it lives, every kernel runs on `target`. For tests: one at a time, while no other thread runs kernels.
class ForcedTarget {
 public:
  explicit ForcedTarget(int64_t target);
  ~ForcedTarget();
  ForcedTarget(const ForcedTarget&) = delete;
  ForcedTarget& operator=(const ForcedTarget&) = delete;
};

}  // namespace kernels
}  // namespace laconic
