#include "laconic/comm/transport/transport.h"

#include <numeric>
#include <vector>

namespace laconic {

absl::StatusOr<std::unique_ptr<Transport>> Transport::Duplicate() {
  std::vector<int> everybody(size());
  std::iota(everybody.begin(), everybody.end(), 0);
  return Subgroup(everybody);
}

}  // namespace laconic
