// Distortion of codecs for each bit that they send: |x - C(x)|^2 / |x|^2 on random vectors, of several seeds. Results
// go to a JSON file that `laconic report` makes tables and plots of.
#include <array>
#include <cmath>
#include <fstream>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"
#include "nlohmann/json.hpp"

namespace laconic::experiments {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint32_t kSampleStream = 0x5a3b;

struct Measured {
  double bits = 0;  // for each element, as encoded
  double distortion = 0;
};

absl::StatusOr<Measured> Measure(const std::string& spec, std::span<const float> x, uint64_t seed) {
  LACONIC_ASSIGN_OR_RETURN(const std::shared_ptr<const Compressor> codec, CodecRegistry::BuiltIn().Create(spec));
  const Shape shape = Shape::Flat(x.size());
  std::vector<std::byte> body(codec->MaxBodyBytes(shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, codec->Encode(x, shape, {.seed = seed}, body));
  std::vector<float> decoded(x.size());
  LACONIC_RETURN_IF_ERROR(codec->DecodeAdd(std::span(body).first(body_bytes), shape, 1, decoded));
  double lost = 0, all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = static_cast<double>(x[i]) - decoded[i];
    lost += difference * difference;
    all += static_cast<double>(x[i]) * x[i];
  }
  return Measured{8 * static_cast<double>(body_bytes) / static_cast<double>(x.size()), lost / all};
}

// Normal numbers, or Student's t with three degrees of freedom: a normal number by the root of the mean of the squares
// of three others.
std::vector<float> Draw(const std::string& input, size_t elements, uint64_t seed) {
  const CounterRng rng({.seed = seed, .stream = kSampleStream});
  uint64_t next = 0;
  const auto normal = [&] {  // Box and Muller 1958
    const double u = (static_cast<double>(rng.Word(next++)) + 0.5) * 0x1p-32;
    const double v = static_cast<double>(rng.Word(next++)) * 0x1p-32;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  };
  std::vector<float> x(elements);
  if (input == "one-hot") {
    x[elements / 3] = 1;
    return x;
  }
  for (float& value : x) {
    double drawn = normal();
    if (input == "student-t3") {
      double square = 0;
      for (int i = 0; i < 3; ++i) {
        const double other = normal();
        square += other * other / 3;
      }
      drawn /= std::sqrt(square);
    }
    value = static_cast<float>(drawn);
  }
  return x;
}

// A codec at several numbers of bits, or a bound that needs no codec.
struct Family {
  const char* label;
  const char* spec;  // {} stands for the bits; nullptr: `bound`
  int least_bits, most_bits;
  double (*bound)(int bits) = nullptr;
};
constexpr std::array<Family, 5> kFamilies = {{
    {"turboquant", "turboquant(bits={})", 1, 8},
    {"turboquant, unbiased", "turboquant(bits={}, mode=unbiased)", 1, 8},
    {"quantize, block 128", "quantize(bits={}, block=128)", 2, 8},
    {"the paper's bound", nullptr, 1, 8,
     [](int bits) { return std::sqrt(3) * std::numbers::pi / 2 * std::pow(4, -bits); }},
    {"no code is below", nullptr, 1, 8, [](int bits) { return std::pow(4, -bits); }},
}};

absl::StatusOr<Json> Run(const std::string& input, bool quick) {
  Json runs = Json::array();
  for (const Family& family : kFamilies) {
    const uint64_t seeds = quick || family.spec == nullptr ? 1 : 3;
    for (int bits = family.least_bits; bits <= family.most_bits; ++bits) {
      for (uint64_t seed = 1; seed <= seeds; ++seed) {
        Measured measured;
        if (family.spec == nullptr) {
          measured = {static_cast<double>(bits), family.bound(bits)};
        } else {
          const std::vector<float> x = Draw(input, size_t{1} << (quick ? 12 : 20), seed);
          LACONIC_ASSIGN_OR_RETURN(measured, Measure(fmt::format(fmt::runtime(family.spec), bits), x, seed));
        }
        runs.push_back({{"label", family.label},
                        {"case", fmt::format("{} bits", bits)},
                        {"seed", seed},
                        {"bits", measured.bits},
                        {"distortion", measured.distortion}});
      }
    }
  }
  return Json{{"runs", runs}};
}

int Main(int argc, char** argv) {
  CLI::App app("Distortion of codecs for each bit that they send.", "distortion");
  bool quick = false;
  std::string input = "gaussian", path;
  app.add_option("--input", input, "gaussian | student-t3 | one-hot")
      ->capture_default_str()
      ->check(CLI::IsMember({"gaussian", "student-t3", "one-hot"}));
  app.add_flag("--quick", quick, "Short vectors: that it runs, not what it shows");
  app.add_option("--json", path, "Where the results go")->required();
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<Json> result = Run(input, quick);
  absl::Status status = result.status();
  if (status.ok()) {
    std::ofstream out(path, std::ios::trunc);
    out << result->dump(1) << "\n" << std::flush;
    if (!out) status = absl::UnavailableError(fmt::format("cannot write {}", path));
  }
  if (status.ok()) return 0;
  fmt::print(stderr, "distortion: {}\n", std::string(status.message()));
  return 2;
}

}  // namespace
}  // namespace laconic::experiments

int main(int argc, char** argv) { return laconic::experiments::Main(argc, argv); }
