#include "compressors/sparsity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace laconic::internal {

absl::Status CheckSparseElements(std::string_view codec, const Shape& shape) {
  if (shape.elements() <= kMaxSparseElements) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} takes at most {} elements, not {}: cut the tensor into parts",
                                                codec, kMaxSparseElements, shape.elements()));
}

absl::StatusOr<Sparsity> Sparsity::Take(const SpecCall& call, SpecArguments& arguments) {
  const bool has_ratio = arguments.Has("ratio");
  const bool has_count = arguments.Has("k");
  const double ratio = arguments.Number("ratio", 1, std::nextafter(0.0, 1.0), 1);
  const int64_t count = arguments.Integer("k", 0, 0, std::numeric_limits<int64_t>::max());
  if (absl::Status status = arguments.Finish(); !status.ok()) return status;
  if (has_ratio == has_count) {
    return SpecError(call.column,
                     fmt::format("{} takes exactly one of ratio (number in (0, 1]) and k (0..)", call.name));
  }
  return has_ratio ? Ratio(ratio) : Count(static_cast<uint64_t>(count));
}

std::vector<ParameterInfo> Sparsity::Parameters() {
  return {{"ratio", "number in (0, 1]", "", "share of the entries that is kept, at least one; either this or k"},
          {"k", "0..", "", "number of entries that are kept; either this or ratio"}};
}

uint64_t Sparsity::Kept(uint64_t elements) const {
  if (ratio_ == 0) return std::min(count_, elements);
  if (ratio_ == 1 || elements == 0) return elements;
  const double kept = std::round(ratio_ * static_cast<double>(elements));
  return kept >= static_cast<double>(elements) ? elements : std::max<uint64_t>(1, static_cast<uint64_t>(kept));
}

std::string Sparsity::ToString() const {
  return ratio_ > 0 ? fmt::format("ratio={}", FormatNumber(ratio_)) : fmt::format("k={}", count_);
}

}  // namespace laconic::internal
