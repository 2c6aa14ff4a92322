// Replanner on disk: <tensor>/{level, window, speeds}, observed, link.
#include <algorithm>
#include <array>
#include <bit>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/replan.h"

namespace laconic {
namespace {

constexpr std::string_view kLink[] = {"bits_per_second", "round_trip_seconds", "efficiency"};

std::array<double*, 3> Fields(LinkFigures& link) {
  return {&link.bits_per_second, &link.round_trip_seconds, &link.efficiency};
}

}  // namespace

void Replanner::Save(StateWriter& out) const {
  out.U64("observed", observed_);
  if (measures_speed() && setting_.link) {
    const StateWriter link = out.Scope("link");
    LinkFigures figures = *setting_.link;
    for (size_t i = 0; i < 3; ++i) {
      StateWriter(link).U64(kLink[i], std::bit_cast<uint64_t>(*Fields(figures)[i]));
    }
  }
  for (const Layer& layer : layers_) {
    StateWriter scope = out.Scope(layer.slot->name);
    scope.U64("level", std::bit_cast<uint64_t>(family_.levels[layer.levels[layer.chosen]]));
    if (observed_ > 0) scope.Floats("window", layer.window);
    if (!layer.speeds.empty()) scope.Floats("speeds", layer.speeds);
  }
}

absl::Status Replanner::Load(std::span<const StateReader> by_rank, int rank) {
  const bool reshard = static_cast<int>(by_rank.size()) != setting_.ranks;
  const StateReader& own = by_rank[reshard ? 0 : rank];
  LACONIC_ASSIGN_OR_RETURN(observed_, own.U64("observed"));
  if (const StateReader in = own.Scope("link"); measures_speed() && in.Has(kLink[0])) {
    LinkFigures figures;
    for (size_t i = 0; i < 3; ++i) {
      LACONIC_ASSIGN_OR_RETURN(const uint64_t bits, in.U64(kLink[i]));
      *Fields(figures)[i] = std::bit_cast<double>(bits);
    }
    setting_.link = figures;
  }
  for (Layer& layer : layers_) {
    const StateReader in = own.Scope(layer.slot->name);
    LACONIC_ASSIGN_OR_RETURN(const uint64_t bits, in.U64("level"));
    const double saved = std::bit_cast<double>(bits);
    const auto found = std::find_if(layer.levels.begin(), layer.levels.end(),
                                    [&](size_t level) { return family_.levels[level] == saved; });
    if (found == layer.levels.end()) {
      return absl::FailedPreconditionError(
          fmt::format("{}level is {}, which is none of {}", in.prefix(), saved, spec_.ToString()));
    }
    Take(layer, static_cast<size_t>(found - layer.levels.begin()));
    layer.speeds.clear();
    if (in.Has("speeds")) {
      layer.speeds.resize(2 * layer.levels.size());
      LACONIC_RETURN_IF_ERROR(in.Floats("speeds", std::span<float>(layer.speeds)));
    }
    if (observed_ == 0) {
      std::fill(layer.window.begin(), layer.window.end(), 0.0f);
    } else if (!reshard) {
      LACONIC_RETURN_IF_ERROR(in.Floats("window", std::span<float>(layer.window)));
    } else {
      std::vector<double> sum(layer.window.size());
      for (const StateReader& old : by_rank) {
        LACONIC_RETURN_IF_ERROR(old.Scope(layer.slot->name).Floats("window", std::span<float>(layer.window)));
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += layer.window[i];
      }
      const double share = 1.0 / static_cast<double>(by_rank.size());
      for (size_t i = 0; i < sum.size(); ++i) layer.window[i] = static_cast<float>(sum[i] * share);
    }
  }
  return absl::OkStatus();
}

}  // namespace laconic
