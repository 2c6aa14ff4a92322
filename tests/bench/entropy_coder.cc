// What the entropy coder makes of gradients as bfloat16: bits a value beside sign + mantissa + the zero-order entropy
// of the exponents, and its speed on one thread in bytes of bfloat16s.
//
//   entropy_coder [gradients.safetensors ...]     files of `train --dump-gradients`; always also N(0, 0.02^2)
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <string>
#include <vector>

#include "compressors/entropy_coding.h"
#include "compressors/float16.h"
#include "compressors/zstd_coding.h"
#include "laconic/base/rng.h"
#include "laconic/base/state.h"

namespace laconic {
namespace {

using Halves = std::vector<uint16_t>;

constexpr int kRepetitions = 9;

struct Row {
  size_t values = 0, coded_bytes = 0, zstd_bytes = 0;
  double yardstick_bits = 0;  // in all
  double encode_seconds = 0, decode_seconds = 0;
  bool exact = true;

  void Add(const Row& other) {
    values += other.values;
    coded_bytes += other.coded_bytes;
    zstd_bytes += other.zstd_bytes;
    yardstick_bits += other.yardstick_bits;
    encode_seconds += other.encode_seconds;
    decode_seconds += other.decode_seconds;
    exact &= other.exact;
  }
};

// Of one call: the median over repetitions that take long enough to be timed.
template <typename Work>
double MedianSeconds(size_t values, Work work) {
  const size_t calls = 1 + 2'000'000 / (values + 1);
  std::vector<double> seconds;
  for (int repetition = -1; repetition < kRepetitions; ++repetition) {  // the first warms up
    const std::clock_t begin = std::clock();  // of this process: what else the machine does hardly counts
    for (size_t call = 0; call < calls; ++call) work();
    const double spent = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (repetition >= 0) seconds.push_back(spent / static_cast<double>(calls));
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRepetitions / 2, seconds.end());
  return seconds[kRepetitions / 2];
}

double YardstickBits(const Halves& halves) {
  std::vector<double> counts(256);
  for (const uint16_t half : halves) ++counts[half >> 7 & 0xff];
  const auto total = static_cast<double>(halves.size());
  double bits = 8 * total;
  for (const double count : counts) bits -= count > 0 ? count * std::log2(count / total) : 0;
  return bits;
}

Row Measure(const Halves& halves) {
  const auto in = std::as_bytes(std::span(halves));
  std::vector<std::byte> coded(internal::MaxEncodedBytes(NumberFormat::kBf16, halves.size()));
  Halves decoded(halves.size());
  Row row{.values = halves.size(), .yardstick_bits = YardstickBits(halves)};
  row.encode_seconds =
      MedianSeconds(halves.size(), [&] { row.coded_bytes = internal::EncodeNumbers(NumberFormat::kBf16, in, coded); });
  row.decode_seconds = MedianSeconds(halves.size(), [&] {
    row.exact &= internal::DecodeNumbers(NumberFormat::kBf16, std::span(coded).first(row.coded_bytes),
                                         std::as_writable_bytes(std::span(decoded)))
                     .ok();
  });
  row.exact &= decoded == halves;
  row.zstd_bytes = internal::ZstdEncode(in, coded).value_or(in.size());
  return row;
}

void Print(const std::string& name, const Row& row) {
  const auto values = static_cast<double>(row.values);
  const double coded_bits = 8 * static_cast<double>(row.coded_bytes);
  fmt::print("{:<28} {:>10} {:>10.3f} {:>10.3f} {:>+8.2f} % {:>8.2f} {:>8.2f} {:>8.2f}  {}\n", name, row.values,
             row.yardstick_bits / values, coded_bits / values, 100 * (coded_bits / row.yardstick_bits - 1),
             8 * static_cast<double>(row.zstd_bytes) / values, 2e-9 * values / row.encode_seconds,
             2e-9 * values / row.decode_seconds, row.exact ? "exact" : "DIFFERENT");
  std::fflush(stdout);
}

Halves Bfloat16s(std::span<const float> x) {
  Halves halves(x.size());
  std::transform(x.begin(), x.end(), halves.begin(), FloatToBfloat16);
  return halves;
}

std::vector<float> Gaussian(size_t count) {
  const CounterRng rng(RngKey{.seed = 1});
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    const auto words = rng.Block(i);
    x[i] = static_cast<float>(0.02 * std::sqrt(-2 * std::log((words[0] + 0.5) * 0x1p-32)) *
                              std::cos(2 * M_PI * (words[1] + 0.5) * 0x1p-32));
  }
  return x;
}

int Main(int argc, char** argv) {
  fmt::print("{:<28} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>8}\n", "values as bfloat16", "count", "entropy",
             "coded bits", "above", "zstd -1", "encode", "decode");
  fmt::print("{:<28} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>8}\n", "", "", "bits", "", "", "bits", "GB/s", "GB/s");
  for (int i = 1; i < argc; ++i) {
    const absl::StatusOr<StateArchive> archive = ReadStateFile(argv[i]);
    if (!archive.ok()) {
      fmt::print(stderr, "{}\n", archive.status().ToString());
      return 1;
    }
    Row all;
    for (const auto& [name, entry] : archive->tensors) {
      const absl::StatusOr<std::span<const float>> values = StateReader(&*archive).Floats(name);
      if (!values.ok() || values->empty()) continue;
      const Row row = Measure(Bfloat16s(*values));
      Print(name, row);
      all.Add(row);
    }
    if (all.values > 0) Print(fmt::format("all of {}", argv[i]), all);
  }
  Print("N(0, 0.02^2)", Measure(Bfloat16s(Gaussian(size_t{1} << 22))));
  return 0;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) { return laconic::Main(argc, argv); }
