#include <algorithm>
#include <numeric>

#include "laconic/base/rng.h"
#include "laconic/optim/federated/federation.h"
#include "optim/federated/draws.h"

namespace laconic {

// Floyd's algorithm (Bentley and Floyd 1987): S draws, whatever N is.
std::vector<uint32_t> SampleClients(uint64_t seed, uint64_t round, uint32_t clients, uint32_t sampled) {
  std::vector<uint32_t> chosen;
  chosen.reserve(sampled);
  if (sampled >= clients) {
    chosen.resize(clients);
    std::iota(chosen.begin(), chosen.end(), 0u);
    return chosen;
  }
  const CounterRng rng(internal::DrawKey(internal::Draw::kSampling, seed, round));
  for (uint32_t i = 0; i < sampled; ++i) {
    const uint32_t last = clients - sampled + i;
    const uint32_t drawn = rng.Below(i, last + 1);
    auto place = std::lower_bound(chosen.begin(), chosen.end(), drawn);
    if (place != chosen.end() && *place == drawn) {
      chosen.push_back(last);  // larger than all before
    } else {
      chosen.insert(place, drawn);
    }
  }
  return chosen;
}

}  // namespace laconic
