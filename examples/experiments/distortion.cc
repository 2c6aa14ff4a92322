// What a few bits an element cost: |C(x) - x|^2 / |x|^2 of the rotation codec and of a plain grid on data of four
// kinds, between the least that any code can have on normal data, 4^-bits, and the bound that TurboQuant (Zandieh et
// al. 2025) proves, sqrt(3) pi / 2 4^-bits. Results go to a JSON file that `laconic report` makes tables and plots of.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numbers>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/codec_registry.h"
#include "nlohmann/json.hpp"

namespace laconic::experiments {
namespace {

using Json = nlohmann::ordered_json;

// Draws of one kind of data. Those of normals and t distributions are the C++ library's: another one draws others.
struct Data {
  const char* name;
  std::vector<float> (*draw)(size_t elements, uint64_t seed);
};

template <typename Distribution>
std::vector<float> Draw(size_t elements, uint64_t seed, Distribution distribution) {
  std::mt19937_64 engine(seed);
  std::vector<float> x(elements);
  for (float& value : x) value = static_cast<float>(distribution(engine));
  return x;
}

const Data kData[] = {
    {"normal", [](size_t d, uint64_t seed) { return Draw(d, seed, std::normal_distribution<double>()); }},
    {"t(3)", [](size_t d, uint64_t seed) { return Draw(d, seed, std::student_t_distribution<double>(3)); }},
    {"t(2)", [](size_t d, uint64_t seed) { return Draw(d, seed, std::student_t_distribution<double>(2)); }},
    {"one-hot blocks",
     [](size_t d, uint64_t seed) {  // one element in every 1024
       std::vector<float> x(d);
       for (size_t i = seed % 1024; i < d; i += 1024) x[i] = 1;
       return x;
     }},
};

struct Method {
  const char* name;
  const char* spec;                    // {}: bits
  std::vector<std::string_view> data;  // that it is tried on
};

const Method kMethods[] = {
    {"turboquant", "turboquant(bits={})", {"normal", "t(3)", "t(2)", "one-hot blocks"}},
    {"unbiased", "turboquant(bits={}, mode=unbiased)", {"normal"}},
    {"qjl", "turboquant(bits={}, mode=qjl)", {"normal"}},
    {"one round", "turboquant(bits={}, rounds=1)", {"t(2)", "one-hot blocks"}},
    {"three rounds", "turboquant(bits={}, rounds=3)", {"one-hot blocks"}},
    {"grid", "quantize(bits={}, block=1024)", {"normal", "t(3)", "t(2)"}},
};

struct Measurement {
  double distortion = 0, bits_per_element = 0;
};

absl::StatusOr<Measurement> Measure(const std::string& spec, const std::vector<float>& x, uint64_t seed) {
  LACONIC_ASSIGN_OR_RETURN(const auto codec, CodecRegistry::BuiltIn().Create(spec));
  const Shape shape = Shape::Flat(x.size());
  std::vector<float> residual(x.size());
  std::vector<std::byte> body(codec->MaxBodyBytes(shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes,
                           codec->EncodeResidual(x, shape, RngKey{.seed = seed}, residual, body));
  double error = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += static_cast<double>(residual[i]) * residual[i];
    norm += static_cast<double>(x[i]) * x[i];
  }
  return Measurement{.distortion = error / norm,
                     .bits_per_element = 8.0 * static_cast<double>(body_bytes) / static_cast<double>(x.size())};
}

struct Options {
  size_t elements = size_t{1} << 20;
  int most_bits = 8;
  uint64_t seeds = 3;
};

Json Row(const std::string& label, int bits, uint64_t seed, double distortion) {
  return {{"label", label},
          {"case", fmt::format("{} bit{}", bits, bits == 1 ? "" : "s")},
          {"seed", seed},
          {"bits", bits},
          {"distortion", distortion},
          {"times_4_to_bits", distortion * std::pow(4, bits)}};
}

absl::StatusOr<Json> Run(const Options& options) {
  Json runs = Json::array();
  for (int bits = 1; bits <= options.most_bits; ++bits) {
    runs.push_back(Row("any code, at least", bits, 1, std::pow(4, -bits)));
    runs.push_back(Row("TurboQuant, at most", bits, 1, std::sqrt(3) * std::numbers::pi / 2 * std::pow(4, -bits)));
  }
  for (const Data& data : kData) {
    for (uint64_t seed = 1; seed <= options.seeds; ++seed) {
      const std::vector<float> x = data.draw(options.elements, seed);
      for (const Method& method : kMethods) {
        if (std::ranges::find(method.data, data.name) == method.data.end()) continue;
        for (int bits = 1; bits <= options.most_bits; ++bits) {
          const std::string spec = fmt::format(fmt::runtime(method.spec), bits);
          LACONIC_ASSIGN_OR_RETURN(const Measurement measured, Measure(spec, x, seed));
          Json row = Row(fmt::format("{}: {}", method.name, data.name), bits, seed, measured.distortion);
          row["spec"] = spec;
          row["bits_per_element"] = measured.bits_per_element;
          runs.push_back(std::move(row));
          fmt::print("{:<16} {:<14} seed {} {} bits: {:.4g}\n", data.name, method.name, seed, bits,
                     measured.distortion);
        }
      }
    }
  }
  return Json{{"runs", std::move(runs)}};
}

int Main(int argc, char** argv) {
  CLI::App app("Distortion per bit of the rotation codec, on data of four kinds.", "distortion");
  Options options;
  bool quick = false;
  std::string json;
  app.add_flag("--quick", quick, "Few elements and bits: that it runs, not what it shows");
  app.add_option("--seeds", options.seeds, "Draws of data and rotations")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  app.add_option("--json", json, "Where the results go")->required();
  CLI11_PARSE(app, argc, argv);
  if (quick) options = {.elements = size_t{1} << 12, .most_bits = 2, .seeds = 1};
  const absl::StatusOr<Json> results = Run(options);
  if (!results.ok()) {
    fmt::print(stderr, "distortion: {}\n", std::string(results.status().message()));
    return 2;
  }
  std::ofstream out(json, std::ios::trunc);
  out << results->dump(1) << "\n" << std::flush;
  if (!out) {
    fmt::print(stderr, "distortion: cannot write {}\n", json);
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace laconic::experiments

int main(int argc, char** argv) { return laconic::experiments::Main(argc, argv); }
