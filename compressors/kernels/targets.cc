#include "compressors/kernels/targets.h"

#include "hwy/highway.h"

namespace laconic {

std::string_view KernelTarget() { return kernels::TargetName(kernels::RunnableTargets().front()); }

namespace kernels {

std::vector<int64_t> RunnableTargets() {
  std::vector<int64_t> targets;
  // The portable target is always there, but Highway lists it only where there is nothing better.
  int64_t left = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET;
  for (; left != 0; left &= left - 1) targets.push_back(left & -left);  // lower bits are better targets
  return targets;
}

std::string_view TargetName(int64_t target) { return hwy::TargetName(target); }

ForcedTarget::ForcedTarget(int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(target);
}

ForcedTarget::~ForcedTarget() {
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace kernels
}  // namespace laconic
