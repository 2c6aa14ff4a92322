#include "tools/fed/experiment.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <thread>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/optim/federated/method.h"
#include "laconic/optim/federated/network_model.h"
#include "laconic/optim/federated/vector_codec.h"

namespace laconic::tools {
namespace {

std::string Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

// The first plus outside of parentheses; npos: none.
size_t PlusOf(std::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')') --depth;
    if (text[i] == '+' && depth == 0) return i;
  }
  return std::string_view::npos;
}

// "scallion(alpha=0.1)" as "scallion".
std::string NameOf(std::string_view spec) {
  std::string name;
  for (const char c : spec) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') break;
    name += c;
  }
  return name;
}

struct Pair {
  std::string method, codec;
  bool own_codec = false;  // the method named it
};

std::vector<Pair> PairsOf(std::span<const std::string> methods, std::span<const std::string> codecs) {
  std::vector<Pair> pairs;
  const auto add = [&](std::string_view method, std::string_view codec, bool own_codec) {
    Pair pair{Trimmed(method), Trimmed(codec), own_codec};
    for (const Pair& other : pairs) {
      if (other.method == pair.method && other.codec == pair.codec) return;
    }
    pairs.push_back(std::move(pair));
  };
  for (const std::string_view method : methods) {
    if (const size_t plus = PlusOf(method); plus != std::string_view::npos) {
      add(method.substr(0, plus), method.substr(plus + 1), true);
      continue;
    }
    for (const std::string& codec : codecs) add(method, codec, false);
  }
  return pairs;
}

// Whether method and codec are known and fit.
absl::Status CheckPair(const Pair& pair, const RunDescription& base, std::span<const Parameter> parameters) {
  LACONIC_ASSIGN_OR_RETURN(const VectorCodec codec, VectorCodec::Create(pair.codec, parameters, base.min_elements));
  return MakeFederatedMethod(pair.method, codec.traits(), pair.codec).status();
}

bool IsKnownMethod(const std::string& name) {
  for (const FederatedMethodInfo& info : BuiltInFederatedMethods()) {
    if (info.name == name) return true;
  }
  return false;
}

}  // namespace

absl::Status SimulationSettings::Validate() const {
  if (threads < 0 || threads > 4096) {
    return absl::InvalidArgumentError(fmt::format("-j {}: must be in [1, 4096], or 0 for all cores", threads));
  }
  if (!(deadline >= 0) || !std::isfinite(deadline)) {
    return absl::InvalidArgumentError(
        fmt::format("--deadline {}: must be a number of seconds, or 0 for none", deadline));
  }
  if (deadline > 0 && network.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("--deadline {}: without --network there is no clock it could be on", deadline));
  }
  if (!(failure_rate >= 0 && failure_rate < 1)) {
    return absl::InvalidArgumentError(fmt::format("--failure-rate {}: must be in [0, 1)", failure_rate));
  }
  return absl::OkStatus();
}

std::string PlannedRun::Label() const {
  return compress == "identity" ? fmt::format("{}, fp32", method) : fmt::format("{} + {}", method, compress);
}

absl::StatusOr<RunPlan> PlanRuns(const RunDescription& base, std::span<const std::string> methods,
                                 std::span<const std::string> codecs, std::span<const uint64_t> seeds,
                                 std::span<const Parameter> parameters) {
  RunPlan plan;
  if (seeds.empty()) return absl::InvalidArgumentError("--seeds: at least one is needed");
  for (size_t i = 0; i < seeds.size(); ++i) {
    if (std::find(seeds.begin(), seeds.begin() + i, seeds[i]) != seeds.begin() + i) {
      return absl::InvalidArgumentError(fmt::format("--seeds: {} is there twice", seeds[i]));
    }
  }
  size_t number = 0;
  for (const Pair& pair : PairsOf(methods, codecs)) {
    if (const absl::Status status = CheckPair(pair, base, parameters); !status.ok()) {
      const std::string why = fmt::format("{} + {}: {}", pair.method, pair.codec, std::string(status.message()));
      // A misspelt name or codec is refused whatever it is paired with.
      if (pair.own_codec || !IsKnownMethod(NameOf(pair.method)) ||
          !VectorCodec::Create(pair.codec, parameters, base.min_elements).ok()) {
        return absl::InvalidArgumentError(why);
      }
      plan.refused.push_back(why);
      continue;
    }
    ++number;
    for (const uint64_t seed : seeds) {
      PlannedRun run{.method = pair.method, .compress = pair.codec, .description = base};
      run.id = fmt::format("{:02}-{}-{}-seed{}", number, NameOf(pair.method), NameOf(pair.codec), seed);
      run.description.method = pair.method;
      run.description.compress = pair.codec;
      run.description.seed = seed;
      LACONIC_RETURN_IF_ERROR(run.description.Validate());
      plan.runs.push_back(std::move(run));
    }
  }
  if (plan.runs.empty()) {
    return absl::InvalidArgumentError(plan.refused.empty() ? "--method: at least one is needed"
                                                           : fmt::format("nothing to run: {}", plan.refused.front()));
  }
  return plan;
}

int ThreadsOf(const SimulationSettings& settings, int ranks) {
  if (settings.threads > 0) return settings.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, ranks));
}

}  // namespace laconic::tools
