#include "examples/nn/sampling.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numbers>
#include <numeric>

#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

// Streams of random numbers, told apart from each other and from the initial weights'.
constexpr uint32_t kShuffleStream = 0x5471;
constexpr uint32_t kShareStream = 0x5472;
constexpr uint32_t kBatchStream = 0x5473;

// Fisher-Yates.
void Shuffle(std::vector<uint32_t>& items, const CounterRng& rng) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.Below(i, static_cast<uint32_t>(i))]);
}

// Draws in order from one stream.
class Draws {
 public:
  explicit Draws(const CounterRng& rng) : rng_(rng) {}
  // On (0, 1): never 0, for logarithms.
  double Uniform() { return (static_cast<double>(rng_.Word(next_++)) + 0.5) * 0x1p-32; }
  // Box-Muller.
  double Normal() {
    const double radius = std::sqrt(-2 * std::log(Uniform()));
    return radius * std::cos(2 * std::numbers::pi * Uniform());
  }
  // log of a Gamma(shape, 1) variable (Marsaglia and Tsang 2000; for shape < 1 boosted by U^(1/shape)). The logarithm,
  // since for small shapes the variable itself underflows.
  double LogGamma(double shape) {
    if (shape < 1) return LogGamma(shape + 1) + std::log(Uniform()) / shape;
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    while (true) {
      const double x = Normal(), root = 1 + c * x, u = Uniform();
      if (root <= 0) continue;
      const double v = root * root * root;
      if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d) + std::log(v);
    }
  }

 private:
  const CounterRng& rng_;
  uint64_t next_ = 0;
};

// Cumulative shares of a Dirichlet(a, ..., a) draw; the last is 1.
std::vector<double> DirichletShares(int ranks, double concentration, const CounterRng& rng) {
  Draws draws(rng);
  std::vector<double> shares(ranks);
  for (double& share : shares) share = draws.LogGamma(concentration);
  const double largest = *std::max_element(shares.begin(), shares.end());
  double sum = 0;
  for (double& share : shares) sum += share = std::exp(share - largest);
  double running = 0;
  for (double& share : shares) share = running += share / sum;
  shares.back() = 1;
  return shares;
}

void DivideEqually(std::span<const uint32_t> order, std::vector<std::vector<uint32_t>>& parts) {
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const size_t begin = order.size() * rank / parts.size(), end = order.size() * (rank + 1) / parts.size();
    parts[rank].assign(order.begin() + begin, order.begin() + end);
  }
}

// A rank without samples could not take part: it gets one from the rank that has most (ties: the lowest).
void FillEmptyParts(std::vector<std::vector<uint32_t>>& parts) {
  for (std::vector<uint32_t>& part : parts) {
    if (!part.empty()) continue;
    auto richest =
        std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
    part.push_back(richest->back());
    richest->pop_back();
  }
}

}  // namespace

absl::StatusOr<Split> Split::Parse(std::string_view text) {
  if (text == "iid") return Split{Kind::kIid};
  if (text == "labels") return Split{Kind::kLabels};
  constexpr std::string_view kPrefix = "dirichlet=";
  if (text.starts_with(kPrefix)) {
    const std::string_view number = text.substr(kPrefix.size());
    Split split = {Kind::kDirichlet};
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), split.concentration);
    if (error == std::errc() && end == number.data() + number.size() && split.concentration >= 0.001 &&
        split.concentration <= 1000) {
      return split;
    }
    return absl::InvalidArgumentError(fmt::format("dirichlet={}: the concentration must be in [0.001, 1000]", number));
  }
  return absl::InvalidArgumentError(fmt::format("unknown split \"{}\"; known are iid, labels and dirichlet=A", text));
}

std::string Split::ToString() const {
  if (kind == Kind::kDirichlet) return fmt::format("dirichlet={}", concentration);
  return kind == Kind::kIid ? "iid" : "labels";
}

absl::StatusOr<std::vector<std::vector<uint32_t>>> Partition(std::span<const uint16_t> kinds, const Split& split,
                                                             int ranks, uint64_t seed) {
  if (kinds.size() < static_cast<size_t>(ranks)) {
    return absl::InvalidArgumentError(fmt::format("{} samples cannot be divided among {} ranks", kinds.size(), ranks));
  }
  std::vector<uint32_t> order(kinds.size());
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(order, CounterRng({.seed = seed, .rank = RngKey::kSharedRank, .stream = kShuffleStream}));
  std::vector<std::vector<uint32_t>> parts(ranks);
  if (split.kind != Split::Kind::kIid) {
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return kinds[a] < kinds[b]; });
  }
  if (split.kind != Split::Kind::kDirichlet) {
    DivideEqually(order, parts);
  } else {
    for (size_t begin = 0; begin < order.size();) {
      const uint16_t kind = kinds[order[begin]];
      size_t end = begin;
      while (end < order.size() && kinds[order[end]] == kind) ++end;
      const CounterRng rng({.seed = seed, .tensor = kind, .rank = RngKey::kSharedRank, .stream = kShareStream});
      const std::vector<double> shares = DirichletShares(ranks, split.concentration, rng);
      size_t from = begin;
      for (int rank = 0; rank < ranks; ++rank) {
        const size_t to = begin + static_cast<size_t>(std::llround(shares[rank] * static_cast<double>(end - begin)));
        parts[rank].insert(parts[rank].end(), order.begin() + from, order.begin() + to);
        from = to;
      }
      begin = end;
    }
    FillEmptyParts(parts);
  }
  for (std::vector<uint32_t>& part : parts) std::sort(part.begin(), part.end());
  return parts;
}

Permutation::Permutation(uint32_t size, uint64_t derived_key)
    : size_(size), half_bits_(std::max<uint32_t>(1, (std::bit_width(size > 0 ? size - 1 : 0) + 1) / 2)) {
  keys_ = CounterRng::FromDerivedKey(derived_key).Block(0);
}

uint32_t Permutation::operator()(uint32_t index) const {
  const uint32_t mask = (1u << half_bits_) - 1;
  do {
    uint32_t left = index >> half_bits_, right = index & mask;
    for (const uint32_t key : keys_) {
      // A round may be any function of the right half: the finaliser of MurmurHash3.
      uint32_t mixed = right ^ key;
      mixed = (mixed ^ (mixed >> 16)) * 0x85ebca6bu;
      mixed = (mixed ^ (mixed >> 13)) * 0xc2b2ae35u;
      mixed ^= mixed >> 16;
      const uint32_t new_right = left ^ (mixed & mask);
      left = right;
      right = new_right;
    }
    index = left << half_bits_ | right;
  } while (index >= size_);
  return index;
}

Minibatches::Minibatches(const Dataset* data, std::span<const uint32_t> samples, size_t rows, uint64_t seed, int rank)
    : data_(data),
      samples_(samples),
      seed_(seed),
      rank_(rank),
      rows_(rows),
      inputs_(rows * data->shape.size()),
      labels_(rows * data->labels_per_sample) {}

Batch Minibatches::At(uint64_t index) {
  const size_t width = data_->shape.size();
  for (size_t row = 0; row < rows_; ++row) {
    const uint64_t drawn = index * rows_ + row;
    const uint64_t pass = drawn / samples_.size();
    const CounterRng rng({.seed = seed_, .step = pass, .rank = static_cast<uint32_t>(rank_), .stream = kBatchStream});
    const Permutation order(static_cast<uint32_t>(samples_.size()), rng.derived_key());
    const uint32_t sample = samples_[order(static_cast<uint32_t>(drawn % samples_.size()))];
    std::ranges::copy(data_->LabelsOf(sample), labels_.begin() + row * data_->labels_per_sample);
    data_->CopySample(sample, std::span(inputs_).subspan(row * width, width));
  }
  return {inputs_, labels_};
}

}  // namespace laconic::nn
