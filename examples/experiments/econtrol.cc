// The experiments of EControl (Gao, Islamov and Stich 2024) that need no large network: each method by the same
// GradientSync, ranks as threads. Results go to a JSON file that `laconic report` makes tables and plots of.
#include <array>
#include <cmath>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "examples/experiments/descend.h"
#include "examples/experiments/problem.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"

namespace laconic::experiments {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kCurvePoints = 200;

struct Method {
  std::string label, spec;
};

// The methods that the paper compares, with top-k.
std::vector<Method> MethodsWithTopK(size_t k, double eta, double beta) {
  const auto with = [&](const std::string& control) { return fmt::format("topk(k={})+{}+gather", k, control); };
  return {{"uncompressed", "dense"},
          {"top-k alone", with("none")},
          {"EF", with("ef")},
          {"EF21", with("ef21")},
          {"EF21-SGDM", with(fmt::format("ef21-sgdm(beta={})", beta))},
          {"EControl", with(fmt::format("econtrol(eta={})", eta))}};
}

// What one experiment has measured so far, in the form that `laconic report` reads.
class Record {
 public:
  // seeds: replicas are averaged in so many groups of neighbours, each of which counts as one seed.
  // at: steps whose measurement is a figure of its own.
  void Add(const Method& method, const std::string& where, Json figures, const std::vector<Trace>& traces, size_t seeds,
           const std::vector<double>& at = {}) {
    double total = 0;
    for (size_t seed = 0; seed < seeds; ++seed) {
      const size_t first = traces.size() * seed / seeds, end = traces.size() * (seed + 1) / seeds;
      double floor = 0;
      for (size_t i = first; i < end; ++i) floor += traces[i].Floor() / static_cast<double>(end - first);
      total += floor / static_cast<double>(seeds);
      Json run = {{"label", method.label}, {"case", where}, {"spec", method.spec}, {"seed", seed}};
      run.update(figures);
      run["floor"] = Finite(floor);
      for (const double step : at) run[fmt::format("t={}", step)] = At(traces[first], step);
      run["curve"] = Curve(std::vector<Trace>(traces.begin() + first, traces.begin() + end));
      runs_.push_back(std::move(run));
    }
    fmt::print("{:<14} {:<20} {:.3g}\n", method.label, where, total);
    std::fflush(stdout);
  }

  absl::Status Write(const std::string& path) const {
    std::ofstream out(path, std::ios::trunc);
    out << Json{{"runs", runs_}}.dump(1) << "\n" << std::flush;
    return out ? absl::OkStatus() : absl::UnavailableError(fmt::format("cannot write {}", path));
  }

 private:
  static Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json("diverged"); }
  static Json At(const Trace& trace, double step) {
    for (size_t i = 0; i < trace.step.size(); ++i) {
      if (trace.step[i] == step) return trace.measure[i];
    }
    return "diverged";
  }
  // The mean over traces and over neighbouring measurements, at most kCurvePoints of them.
  static Json Curve(const std::vector<Trace>& traces) {
    size_t length = traces.front().step.size();
    for (const Trace& trace : traces) length = std::min(length, trace.step.size());
    const size_t points = std::min(length, kCurvePoints);
    Json curve = {{"step", Json::array()}, {"measure", Json::array()}, {"wire_bytes", Json::array()}};
    for (size_t point = 0; point < points; ++point) {
      const size_t first = length * point / points, end = length * (point + 1) / points;
      double measure = 0;
      for (const Trace& trace : traces) {
        for (size_t i = first; i < end; ++i) measure += trace.measure[i];
      }
      curve["step"].push_back(traces.front().step[end - 1]);
      curve["measure"].push_back(measure / static_cast<double>(traces.size() * (end - first)));
      curve["wire_bytes"].push_back(traces.front().wire_bytes[end - 1]);
    }
    return curve;
  }

  Json runs_ = Json::array();
};

absl::Status LeastSquares(bool quick, Record& record) {
  struct Case {
    int ranks;
    double zeta;
  };
  const std::vector<Case> cases =
      quick ? std::vector<Case>{{4, 10}} : std::vector<Case>{{10, 0}, {10, 1}, {10, 10}, {10, 100}, {5, 10}, {20, 10}};
  for (const Case& c : cases) {
    LeastSquaresOptions options = {.ranks = c.ranks, .zeta = c.zeta};
    if (quick) options.elements = 20;
    const auto problem = MakeLeastSquares(options);
    const double gamma = 0.05 / LeastSquaresSmoothness(c.ranks);
    for (const Method& method : MethodsWithTopK(options.elements / 10, 0.1, 0.1)) {
      LACONIC_ASSIGN_OR_RETURN(
          const std::vector<Trace> traces,
          Descend(*problem,
                  {.spec = method.spec, .learning_rate = gamma, .steps = quick ? 200u : 3000u, .measure_every = 5}));
      record.Add(method, fmt::format("n={} zeta={}", c.ranks, c.zeta), {{"n", c.ranks}, {"zeta", c.zeta}}, traces,
                 options.replicas);
    }
  }
  return absl::OkStatus();
}

absl::Status NoiseFloor(bool quick, Record& record) {
  constexpr int kRanks = 10;
  for (const double gamma : quick ? std::vector<double>{0.1} : std::vector<double>{0.03, 0.01, 0.003}) {
    const auto problem = MakeNoisyPoint(quick ? 4 : kRanks, quick ? 4 : 64);
    for (const Method& method : MethodsWithTopK(1, 0.1, std::min(1.0, 10 * gamma))) {
      LACONIC_ASSIGN_OR_RETURN(const std::vector<Trace> traces,
                               Descend(*problem, {.spec = method.spec,
                                                  .learning_rate = gamma,
                                                  .steps = static_cast<uint64_t>(40 / gamma),
                                                  .measure_every = 2}));
      record.Add(method, fmt::format("gamma={}", gamma), {{"gamma", gamma}}, traces, 4);
    }
  }
  return absl::OkStatus();
}

absl::Status SpeedUp(bool quick, Record& record) {
  const double gamma = quick ? 0.03 : 0.003;
  for (const int ranks : quick ? std::vector<int>{2, 4} : std::vector<int>{4, 16, 64}) {
    const auto problem = MakeNoisyQuadratic(ranks, quick ? 2 : 4);
    for (const Method& method : MethodsWithTopK(2, 0.1, 10 * gamma)) {
      if (method.label == "top-k alone") continue;  // stalls whatever n is
      LACONIC_ASSIGN_OR_RETURN(const std::vector<Trace> traces,
                               Descend(*problem, {.spec = method.spec,
                                                  .learning_rate = gamma,
                                                  .steps = static_cast<uint64_t>((quick ? 10 : 30) / gamma),
                                                  .measure_every = 5}));
      record.Add(method, fmt::format("n={}", ranks), {{"n", ranks}}, traces, problem->size().replicas);
    }
  }
  return absl::OkStatus();
}

absl::Status Logistic(bool quick, Record& record) {
  LACONIC_ASSIGN_OR_RETURN(const auto problem, MakeLogisticRegression());
  std::vector<Method> methods = MethodsWithTopK(78, 0.01, 0.1);
  for (const double eta : {0.002, 0.02, 0.05}) {
    methods.push_back({fmt::format("EControl eta={}", eta), fmt::format("topk(k=78)+econtrol(eta={})+gather", eta)});
  }
  for (const Method& method : methods) {
    LACONIC_ASSIGN_OR_RETURN(
        const std::vector<Trace> traces,
        Descend(*problem,
                {.spec = method.spec, .learning_rate = 0.1, .steps = quick ? 20u : 2000u, .measure_every = 20}));
    record.Add(method, "", Json::object(), traces, 1,
               quick ? std::vector<double>{20} : std::vector<double>{100, 500, 1000, 2000});
  }
  return absl::OkStatus();
}

struct Experiment {
  const char* name;
  const char* help;
  absl::Status (*run)(bool quick, Record& record);
};
constexpr std::array<Experiment, 4> kExperiments = {{
    {"least-squares", "|grad f|^2 where ranks differ by zeta", LeastSquares},
    {"noise-floor", "|grad f|^2 under noise on equal ranks", NoiseFloor},
    {"speed-up", "|x - x*|^2 against the number of ranks", SpeedUp},
    {"logistic", "|grad f|^2 on Fashion-MNIST, one class a rank", Logistic},
}};

int Main(int argc, char** argv) {
  CLI::App app("EControl and what it is compared with, on problems whose answers are known.", "econtrol");
  app.require_subcommand(1);
  bool quick = false;
  std::string json;
  for (const Experiment& experiment : kExperiments) {
    CLI::App* command = app.add_subcommand(experiment.name, experiment.help);
    command->add_flag("--quick", quick, "Few steps: that it runs, not what it shows");
    command->add_option("--json", json, "Where the results go")->required();
  }
  CLI11_PARSE(app, argc, argv);
  for (const Experiment& experiment : kExperiments) {
    if (!app.got_subcommand(experiment.name)) continue;
    Record record;
    absl::Status status = experiment.run(quick, record);
    if (status.ok()) status = record.Write(json);
    if (!status.ok()) {
      fmt::print(stderr, "econtrol: {}\n", std::string(status.message()));
      return 2;
    }
  }
  return 0;
}

}  // namespace
}  // namespace laconic::experiments

int main(int argc, char** argv) { return laconic::experiments::Main(argc, argv); }
