// One step of a low-rank session on one rank and one thread, as error control uses it: round 0 (the error is added, the
// message formed, M Q), orthogonalisation, round 1 (M^T P), and the reconstruction with the new error. For each shape
// and rank the medians in GB/s of float32 input, and the whole step beside memcpy of the same array.
//
//   lowrank_step [rows cols [rank]]
#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <vector>

#include "compressors/kernels/targets.h"
#include "compressors/lowrank_session.h"
#include "compressors/matrix.h"
#include "fmt/format.h"

namespace laconic {
namespace {

// Median over repetitions of the seconds that each part takes, the parts one after another.
std::vector<double> MedianSeconds(const std::vector<std::function<void()>>& parts, int repetitions) {
  std::vector<std::vector<double>> seconds(parts.size());
  for (int repetition = -1; repetition < repetitions; ++repetition) {  // the first is not counted
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      parts[i]();
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
      if (repetition >= 0) seconds[i].push_back(elapsed.count());
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& samples : seconds) {
    std::nth_element(samples.begin(), samples.begin() + repetitions / 2, samples.end());
    medians.push_back(samples[static_cast<size_t>(repetitions) / 2]);
  }
  return medians;
}

void Measure(size_t rows, size_t cols, size_t rank) {
  const size_t elements = rows * cols;
  std::vector<float> gradient(elements), error(elements), residual(elements), mean(elements), copy(elements);
  internal::FillNearlyNormal(CounterRng(RngKey{.seed = 1}), 0, gradient);
  internal::FillNearlyNormal(CounterRng(RngKey{.seed = 2}), 0, error);
  Message message(gradient);
  message.error = error;
  internal::LowRankSession session(rows, cols, rank, RngKey{.seed = 3});
  std::vector<float> round_0(session.RoundFloats(0)), round_1(session.RoundFloats(1));
  bool ok = true;
  const std::vector<std::function<void()>> parts = {
      [&] { std::memcpy(copy.data(), gradient.data(), elements * sizeof(float)); },
      [&] {
        session.Begin(RngKey{.seed = 4}, residual);
        ok = ok && session.Produce(0, message, round_0).ok();
      },
      [&] { ok = ok && session.Consume(0, round_0).ok(); },
      [&] { ok = ok && session.Produce(1, message, round_1).ok() && session.Consume(1, round_1).ok(); },
      [&] { session.Reconstruct(mean); },
      [&] { session.Commit(); },
  };
  const auto repetitions = static_cast<int>(std::clamp<size_t>((size_t{1} << 28) / elements, 11, 101));
  const std::vector<double> seconds = MedianSeconds(parts, repetitions);
  double step = 0;
  for (size_t i = 1; i < parts.size(); ++i) step += seconds[i];
  const auto rate = [&](double s) { return static_cast<double>(elements * sizeof(float)) / s * 1e-9; };
  fmt::print("{:>6} x {:<6}{:>4}{:>9.2f}{:>9.2f}{:>11.3f}{:>9.2f}{:>13.2f}{:>9.2f}{:>10.2f}{}\n", rows, cols, rank,
             rate(seconds[0]), rate(seconds[1]), seconds[2] * 1e3, rate(seconds[3]), rate(seconds[4]), rate(step),
             seconds[0] / step, ok ? "" : "  FAILED");
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) {
  fmt::print("target {}, GB/s of float32 input\n{:>15}{:>4}{:>9}{:>9}{:>11}{:>9}{:>13}{:>9}{:>10}\n",
             laconic::KernelTarget(), "matrix", "rank", "memcpy", "round 0", "orth [ms]", "round 1", "reconstruct",
             "step", "x memcpy");
  if (argc >= 3) {
    laconic::Measure(std::strtoul(argv[1], nullptr, 10), std::strtoul(argv[2], nullptr, 10),
                     argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 4);
    return 0;
  }
  for (const auto& [rows, cols] :
       {std::pair<size_t, size_t>{1024, 1024}, {512, 4608}, {4096, 1024}, {4096, 4096}, {25088, 1024}}) {
    for (const size_t rank : {1, 2, 4}) laconic::Measure(rows, cols, rank);
  }
  return 0;
}
