// What is reported of repeated measurements.
#pragma once

#include <span>

namespace laconic::tools {

// 0 for no values.
double Median(std::span<const double> values);
// The smallest value that at least `share` of the values do not exceed (nearest rank); 0 for no values.   share: in (0,
// 1].
double Percentile(std::span<const double> values, double share);

}  // namespace laconic::tools
