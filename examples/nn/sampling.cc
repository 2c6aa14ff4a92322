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
constexpr uint32_t kDealStream = 0x5474;
constexpr uint32_t kSizeStream = 0x5475;

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

// Divides `order` by cumulative shares, the last of them 1.
void DivideByShares(std::span<const uint32_t> order, std::span<const double> shares,
                    std::vector<std::vector<uint32_t>>& parts) {
  size_t from = 0;
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const size_t to = static_cast<size_t>(std::llround(shares[rank] * static_cast<double>(order.size())));
    parts[rank].insert(parts[rank].end(), order.begin() + from, order.begin() + to);
    from = to;
  }
}

std::span<const uint32_t> EqualPart(std::span<const uint32_t> order, size_t part, size_t parts) {
  const size_t begin = order.size() * part / parts, end = order.size() * (part + 1) / parts;
  return order.subspan(begin, end - begin);
}

void DivideEqually(std::span<const uint32_t> order, std::vector<std::vector<uint32_t>>& parts) {
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const std::span<const uint32_t> part = EqualPart(order, rank, parts.size());
    parts[rank].assign(part.begin(), part.end());
  }
}

void DealShards(std::span<const uint32_t> order, size_t shards_per_rank, uint64_t seed,
                std::vector<std::vector<uint32_t>>& parts) {
  std::vector<uint32_t> shards(shards_per_rank * parts.size());
  std::iota(shards.begin(), shards.end(), 0u);
  Shuffle(shards, CounterRng({.seed = seed, .rank = RngKey::kSharedRank, .stream = kDealStream}));
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::span<const uint32_t> shard = EqualPart(order, shards[i], shards.size());
    std::vector<uint32_t>& part = parts[i / shards_per_rank];
    part.insert(part.end(), shard.begin(), shard.end());
  }
}

// Cumulative shares in proportion to weight(rank); the last is 1.
template <typename Weight>
std::vector<double> CumulativeShares(size_t ranks, Weight weight) {
  std::vector<double> shares(ranks);
  double sum = 0;
  for (size_t rank = 0; rank < ranks; ++rank) sum += shares[rank] = weight(rank);
  double running = 0;
  for (double& share : shares) share = running += share / sum;
  shares.back() = 1;
  return shares;
}

// Cumulative shares of a Dirichlet(a, ..., a) draw.
std::vector<double> DirichletShares(size_t ranks, double concentration, const CounterRng& rng) {
  Draws draws(rng);
  std::vector<double> logarithms(ranks);
  for (double& value : logarithms) value = draws.LogGamma(concentration);
  const double largest = *std::max_element(logarithms.begin(), logarithms.end());
  return CumulativeShares(ranks, [&](size_t rank) { return std::exp(logarithms[rank] - largest); });
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

struct SplitName {
  Split::Kind kind;
  std::string_view name, what;
  double low = 0, high = 0;  // of its number; high = 0: it takes none
};
constexpr SplitName kSplits[] = {
    {Split::Kind::kIid, "iid", ""},
    {Split::Kind::kLabels, "labels", ""},
    {Split::Kind::kShards, "shards", "number of shards a client", 1, 1000},
    {Split::Kind::kDirichlet, "dirichlet", "concentration", 0.001, 1000},
    {Split::Kind::kLognormal, "lognormal", "standard deviation", 0, 5},
    {Split::Kind::kPower, "power", "exponent", 0, 5},
};

}  // namespace

absl::StatusOr<Split> Split::Parse(std::string_view text) {
  for (const SplitName& known : kSplits) {
    const bool takes_number = known.high > 0;
    if (!takes_number && text == known.name) return Split{known.kind};
    if (!takes_number || !text.starts_with(known.name) || !text.substr(known.name.size()).starts_with('=')) continue;
    const std::string_view number = text.substr(known.name.size() + 1);
    Split split = {known.kind};
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), split.parameter);
    const bool whole = known.kind != Kind::kShards || std::floor(split.parameter) == split.parameter;
    if (error == std::errc() && end == number.data() + number.size() && whole && split.parameter >= known.low &&
        split.parameter <= known.high) {
      return split;
    }
    return absl::InvalidArgumentError(
        fmt::format("{}={}: the {} must be in [{}, {}]", known.name, number, known.what, known.low, known.high));
  }
  return absl::InvalidArgumentError(
      fmt::format("unknown split \"{}\"; known are iid, labels, shards=S, dirichlet=A, lognormal=S and power=A", text));
}

std::string Split::ToString() const {
  for (const SplitName& known : kSplits) {
    if (known.kind != kind) continue;
    return known.high > 0 ? fmt::format("{}={}", known.name, parameter) : std::string(known.name);
  }
  return "";
}

absl::StatusOr<std::vector<std::vector<uint32_t>>> Partition(std::span<const uint16_t> kinds, const Split& split,
                                                             int ranks, uint64_t seed) {
  if (kinds.size() < static_cast<size_t>(ranks)) {
    return absl::InvalidArgumentError(fmt::format("{} samples cannot be divided among {} ranks", kinds.size(), ranks));
  }
  std::vector<uint32_t> order(kinds.size());
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(order, CounterRng({.seed = seed, .rank = RngKey::kSharedRank, .stream = kShuffleStream}));
  const auto sort_by_kind = [&] {
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return kinds[a] < kinds[b]; });
  };
  std::vector<std::vector<uint32_t>> parts(ranks);
  switch (split.kind) {
    case Split::Kind::kIid:
      DivideEqually(order, parts);
      break;
    case Split::Kind::kLabels:
      sort_by_kind();
      DivideEqually(order, parts);
      break;
    case Split::Kind::kShards:
      sort_by_kind();
      DealShards(order, static_cast<size_t>(split.parameter), seed, parts);
      break;
    case Split::Kind::kDirichlet:
      sort_by_kind();
      for (size_t begin = 0; begin < order.size();) {
        const uint16_t kind = kinds[order[begin]];
        size_t end = begin;
        while (end < order.size() && kinds[order[end]] == kind) ++end;
        const CounterRng rng({.seed = seed, .tensor = kind, .rank = RngKey::kSharedRank, .stream = kShareStream});
        const std::vector<double> shares = DirichletShares(parts.size(), split.parameter, rng);
        DivideByShares(std::span(order).subspan(begin, end - begin), shares, parts);
        begin = end;
      }
      break;
    case Split::Kind::kLognormal: {
      const CounterRng rng({.seed = seed, .rank = RngKey::kSharedRank, .stream = kSizeStream});
      Draws draws(rng);
      DivideByShares(order,
                     CumulativeShares(parts.size(), [&](size_t) { return std::exp(split.parameter * draws.Normal()); }),
                     parts);
      break;
    }
    case Split::Kind::kPower:
      DivideByShares(
          order,
          CumulativeShares(parts.size(),
                           [&](size_t rank) { return std::pow(static_cast<double>(rank + 1), -split.parameter); }),
          parts);
      break;
  }
  FillEmptyParts(parts);
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

uint32_t DrawOrder::operator()(uint64_t index) {
  if (const uint64_t pass = index / samples_; pass != pass_) {
    pass_ = pass;
    const CounterRng rng({.seed = seed_, .step = pass, .rank = rank_, .stream = kBatchStream});
    order_ = Permutation(samples_, rng.derived_key());
  }
  return order_(static_cast<uint32_t>(index % samples_));
}

Minibatches::Minibatches(const Dataset* data, std::span<const uint32_t> samples, size_t rows, uint64_t seed, int rank)
    : data_(data),
      samples_(samples),
      rows_(rows),
      order_(static_cast<uint32_t>(samples.size()), seed, static_cast<uint32_t>(rank)),
      inputs_(rows * data->shape.size()),
      labels_(rows * data->labels_per_sample) {}

Batch Minibatches::At(uint64_t index) {
  const size_t width = data_->shape.size();
  for (size_t row = 0; row < rows_; ++row) {
    const uint32_t sample = samples_[order_(index * rows_ + row)];
    std::ranges::copy(data_->LabelsOf(sample), labels_.begin() + row * data_->labels_per_sample);
    data_->CopySample(sample, std::span(inputs_).subspan(row * width, width));
  }
  return {.inputs = inputs_, .labels = labels_};
}

}  // namespace laconic::nn
