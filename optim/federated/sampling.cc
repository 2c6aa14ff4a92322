#include <algorithm>
#include <numeric>

#include "laconic/base/rng.h"
#include "laconic/optim/federated/federation.h"
#include "optim/federated/draws.h"

namespace laconic {

// Floyd's algorithm (Bentley and Floyd 1987): S draws.
std::vector<uint32_t> SampleClients(uint64_t seed, uint64_t round, uint32_t clients, uint32_t sampled) {
  std::vector<uint32_t> chosen;
  chosen.reserve(sampled);
  if (sampled >= clients) {
    chosen.resize(clients);
    std::iota(chosen.begin(), chosen.end(), 0u);
    return chosen;
  }
  const CounterRng rng(internal::DrawKey(internal::Draw::kSampling, seed, round));
  std::vector<bool> taken(clients);
  for (uint32_t i = 0; i < sampled; ++i) {
    const uint32_t last = clients - sampled + i;  // larger than all before
    const uint32_t drawn = rng.Below(i, last + 1);
    chosen.push_back(taken[drawn] ? last : drawn);
    taken[chosen.back()] = true;
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace laconic
