// How many entries a sparse codec keeps: a share of the tensor or a fixed number. The parameters ratio and k of topk
// and randk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/compressors/spec.h"

namespace laconic::internal {

// Positions are kept in 32 bits.
constexpr uint64_t kMaxSparseElements = 0xffffffffu;

// InvalidArgument "topk takes at most 4294967295 elements, not 5000000000: cut the tensor into parts".
absl::Status CheckSparseElements(std::string_view codec, const Shape& shape);

// A value type.
class Sparsity {
 public:
  // k = max(1, round(ratio d)), at most d.  ratio: in (0, 1].
  static Sparsity Ratio(double ratio) { return Sparsity(ratio, 0); }
  // k entries, at most d. k = 0 is legal: error control then absorbs the whole gradient.
  static Sparsity Count(uint64_t k) { return Sparsity(0, k); }

  // Reads the arguments ratio and k, exactly one of which must be there, and finishes `arguments`: to be called last.
  static absl::StatusOr<Sparsity> Take(const SpecCall& call, SpecArguments& arguments);
  static std::vector<ParameterInfo> Parameters();

  // k of d.
  uint64_t Kept(uint64_t elements) const;
  std::string ToString() const;            // "ratio=0.01" or "k=100"
  double ratio() const { return ratio_; }  // 0 where a number was given

 private:
  Sparsity(double ratio, uint64_t count) : ratio_(ratio), count_(count) {}

  double ratio_;  // 0: count_ counts
  uint64_t count_;
};

}  // namespace laconic::internal
