#include "compressors/randk.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/message_runs.h"
#include "compressors/permutation.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr std::array<std::string_view, 2> kScales = {"contractive", "unbiased"};
constexpr std::array<std::string_view, 2> kSeeds = {"shared", "rank"};

// The k positions of `derived_key`, ascending. In ScratchUse::kIndices.
std::span<const uint32_t> Positions(uint64_t derived_key, uint64_t k, uint64_t d) {
  const std::span<uint32_t> positions = Scratch<uint32_t>(ScratchUse::kIndices, k);
  DrawPositions(derived_key, d, positions, Scratch<uint32_t>(ScratchUse::kBits, k));
  return positions;
}

// values[j] = factor * m_{positions[j]}, and the residual where it is asked for: m, less the values at the positions if
// they are `taken`.
struct Gathering {
  const Message& message;
  std::span<const uint32_t> positions;  // ascending
  float factor = 1;
  std::span<float> residual;  // or empty
  bool taken = false;
  std::span<float> values;  // positions.size()

  // One pass, on the threads of the scope. InvalidArgument "randk: element 7 of 100 is nan", or if a value overflows.
  absl::Status Run() const;

  // Elements [begin, end) of the message.
  absl::Status RunRange(size_t begin, size_t end) const;
};

absl::Status Gathering::Run() const {
  constexpr size_t kPiece = size_t{1} << 20;  // elements
  FirstFailure failure;
  ParallelFor(message.size(), kPiece, [&](size_t begin, size_t end) {
    if (absl::Status status = RunRange(begin, end); !status.ok()) failure.Set(begin, std::move(status));
  });
  LACONIC_RETURN_IF_ERROR(failure.status());
  const size_t bad = kernels::FirstNonFinite(values);
  if (bad == values.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("randk: element {} of {} times d/k = {} overflows", positions[bad], message.size(), factor));
}

absl::Status Gathering::RunRange(size_t begin, size_t end) const {
  const Message part = message.Slice(begin, end - begin);
  MessageRuns runs(part, residual.empty() ? residual : residual.subspan(begin, end - begin));
  auto j = static_cast<size_t>(std::lower_bound(positions.begin(), positions.end(), begin) - positions.begin());
  size_t size = runs.FirstCount();
  for (size_t first = begin; first < end; first += size, size = std::min(MessageRuns::kUsual, end - first)) {
    float abs_max = 0;
    const std::span<float> run = runs.Form(first - begin, size, abs_max);
    if (!std::isfinite(abs_max)) return CheckFinite("randk", message);
    for (; j < positions.size() && positions[j] < first + size; ++j) {
      float& element = run[positions[j] - first];
      values[j] = factor * element;
      if (taken) element -= values[j];
    }
    if (runs.leaves_residual()) runs.Leave();
  }
  return absl::OkStatus();
}

// Calls change(y_{positions[j]}, j) for every j. The cache lines of those to come are on their way meanwhile.
template <typename Change>
void ForEachAt(std::span<const uint32_t> positions, std::span<float> y, Change change) {
  constexpr size_t kAhead = 64;
  for (size_t j = 0; j < positions.size(); ++j) {
    __builtin_prefetch(&y[positions[std::min(j + kAhead, positions.size() - 1)]], 1);
    change(y[positions[j]], j);
  }
}

// One round of k floats, which lie at the same positions on all ranks.
class RandKSession final : public LinearSession {
 public:
  RandKSession(uint64_t k, uint64_t d, float factor)
      : elements_(d), factor_(factor), positions_(k), local_(k), mean_(k) {}

  int rounds() const override { return 1; }
  size_t RoundFloats(int round) const override { return local_.size(); }

  void Begin(const RngKey& step_key, std::span<float> residual) override {
    DrawPositions(CounterRng(step_key.Shared()).derived_key(), elements_, positions_,
                  Scratch<uint32_t>(ScratchUse::kBits, positions_.size()));
    residual_ = residual;
  }

  absl::Status Produce(int round, const Message& message, std::span<float> out) override {
    if (message.size() != elements_ || out.size() != local_.size()) {
      return absl::InvalidArgumentError(fmt::format("randk: {} floats to {}, expected {} to {}", message.size(),
                                                    out.size(), elements_, local_.size()));
    }
    const Gathering gathering = {
        .message = message, .positions = positions_, .factor = factor_, .residual = residual_, .values = local_};
    LACONIC_RETURN_IF_ERROR(gathering.Run());
    std::copy(local_.begin(), local_.end(), out.begin());
    return absl::OkStatus();
  }

  absl::Status Consume(int round, std::span<const float> mean) override {
    if (mean.size() != mean_.size()) {
      return absl::InvalidArgumentError(
          fmt::format("randk: mean of {} floats, expected {}", mean.size(), mean_.size()));
    }
    if (const size_t bad = kernels::FirstNonFinite(mean); bad < mean.size()) {
      return absl::DataLossError(fmt::format("randk mean: element {} of {} is {}", bad, mean.size(), mean[bad]));
    }
    std::copy(mean.begin(), mean.end(), mean_.begin());
    return absl::OkStatus();
  }

  void LocalReconstruction(std::span<float> y) const override { Scatter(local_, y); }
  void MeanReconstruction(std::span<float> y) const override { Scatter(mean_, y); }
  void Reconstruct(std::span<float> mean) override {
    MeanReconstruction(mean);
    if (!residual_.empty()) ForEachAt(positions_, residual_, [&](float& element, size_t j) { element -= local_[j]; });
  }

  // Nothing lasts: the positions of a step follow from its key.
  void Commit() override {}
  void Save(StateWriter& out) const override {}
  absl::Status Load(const StateReader& in) override { return absl::OkStatus(); }

 private:
  void Scatter(std::span<const float> values, std::span<float> y) const {
    std::fill(y.begin(), y.end(), 0.0f);
    ForEachAt(positions_, y, [&](float& element, size_t j) { element = values[j]; });
  }

  uint64_t elements_;
  float factor_;
  std::vector<uint32_t> positions_;
  std::span<float> residual_;  // the message until Reconstruct; or empty
  std::vector<float> local_;   // what this rank produced
  std::vector<float> mean_;
};

}  // namespace

std::string RandK::ToString() const {
  return fmt::format("randk({}, scale={}, seed={}, values={})", sparsity_.ToString(),
                     kScales[static_cast<size_t>(scale_)], kSeeds[static_cast<size_t>(seed_)],
                     internal::ToString(values_));
}

Traits RandK::traits(const Shape& shape) const {
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  Traits traits;
  traits.fixed_size = true;
  traits.sparse = true;
  traits.linear = seed_ == Seed::kShared && values_ == ValueFormat::kFp32;
  if (d == 0) {
    traits.delta = 1;
    traits.omega = 0;
  } else if (k > 0) {
    const double ratio = static_cast<double>(k) / static_cast<double>(d);
    traits.suggested_eta = ratio;
    if (scale_ == Scale::kUnbiased) traits.omega = 1 / ratio - 1;
    if (scale_ == Scale::kContractive || k == d) traits.delta = ratio * (1 - RelativeLoss(values_, k));
  }
  return traits;
}

size_t RandK::MaxBodyBytes(const Shape& shape) const {
  const uint64_t d = shape.elements();
  return d == 0 ? 0 : sizeof(uint64_t) + ValueBytes(values_, sparsity_.Kept(d));
}

absl::Status RandK::Supports(const Shape& shape) const { return CheckSparseElements("randk", shape); }

absl::StatusOr<size_t> RandK::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                     std::span<std::byte> body) const {
  return EncodeMessage(x, shape, key, {}, body);
}

absl::StatusOr<size_t> RandK::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                             std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("randk", residual.size(), shape));
  return EncodeMessage(message, shape, key, residual, body);
}

absl::StatusOr<size_t> RandK::EncodeMessage(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  const uint64_t d = shape.elements();
  LACONIC_RETURN_IF_ERROR(CheckFloats("randk", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(Supports(shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("randk", body.size(), MaxBodyBytes(shape)));
  if (d == 0) return 0;
  const uint64_t derived_key = CounterRng(seed_ == Seed::kShared ? key.Shared() : key).derived_key();
  const uint64_t k = sparsity_.Kept(d);
  const std::span<const uint32_t> positions = Positions(derived_key, k, d);
  const std::span<float> values = Scratch<float>(ScratchUse::kValues, k);
  const bool exact = values_ == ValueFormat::kFp32;
  const Gathering gathering = {.message = message,
                               .positions = positions,
                               .factor = Factor(k, d),
                               .residual = residual,
                               .taken = exact,
                               .values = values};
  LACONIC_RETURN_IF_ERROR(gathering.Run());
  ByteWriter out(body);
  out.Put(derived_key);
  const std::span<std::byte> value_block = out.Claim(ValueBytes(values_, k));
  LACONIC_RETURN_IF_ERROR(out.Finish("randk body"));
  EncodeValues(values_, values, value_block);
  if (!residual.empty() && !exact) {
    LACONIC_RETURN_IF_ERROR(DecodeValues(values_, value_block, values));
    ForEachAt(positions, residual, [&](float& element, size_t j) { element -= values[j]; });
  }
  return out.written();
}

absl::Status RandK::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                              std::span<float> acc) const {
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  LACONIC_RETURN_IF_ERROR(CheckFloats("randk", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(Supports(shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("randk", body.size(), MaxBodyBytes(shape)));
  if (d == 0) return absl::OkStatus();
  ByteReader in(body);
  const auto derived_key = in.Get<uint64_t>();
  const std::span<float> values = Scratch<float>(ScratchUse::kValues, k);
  if (absl::Status status = DecodeValues(values_, in.Take(in.remaining()), values); !status.ok()) {
    return Annotate(status, "randk body");
  }
  ForEachAt(Positions(derived_key, k, d), acc, [&](float& element, size_t j) { element += scale * values[j]; });
  return absl::OkStatus();
}

std::unique_ptr<LinearSession> RandK::NewLinearSession(const Shape& shape, const RngKey& init) const {
  if (!traits(shape).linear) return nullptr;
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  return std::make_unique<RandKSession>(k, d, Factor(k, d));
}

float RandK::Factor(uint64_t k, uint64_t d) const {
  return scale_ == Scale::kUnbiased && k > 0 ? static_cast<float>(static_cast<double>(d) / static_cast<double>(k))
                                             : 1.0f;
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo RandKInfo() {
  std::vector<ParameterInfo> parameters = internal::Sparsity::Parameters();
  parameters.push_back({"scale", "contractive|unbiased", "contractive", "unbiased multiplies the kept entries by d/k"});
  parameters.push_back(
      {"seed", "shared|rank", "shared",
       "shared: all ranks keep the same positions, so that sums need no decoding; rank: independent ones"});
  parameters.push_back(internal::ValueFormatParameter());
  return {
      .name = "randk",
      .id = CodecId::kRandK,
      .summary = "k entries at random positions that follow from the seed and cost no bytes",
      .source = "Stich, Cordonnier and Jaggi 2018, arXiv:1809.07599; Konecny et al. 2016, arXiv:1610.05492",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        using internal::RandK;
        using internal::ValueFormat;
        SpecArguments arguments(call, parameters);
        const bool unbiased = arguments.Word("scale", internal::kScales[0], internal::kScales) == internal::kScales[1];
        const bool per_rank = arguments.Word("seed", internal::kSeeds[0], internal::kSeeds) == internal::kSeeds[1];
        const ValueFormat values = internal::TakeValueFormat(arguments);
        LACONIC_ASSIGN_OR_RETURN(const internal::Sparsity sparsity, internal::Sparsity::Take(call, arguments));
        if (unbiased && values != ValueFormat::kFp32) {
          return SpecError(call.column,
                           "randk with scale=unbiased takes values=fp32: rounding to nearest biases the mean");
        }
        return std::make_shared<const RandK>(sparsity, unbiased ? RandK::Scale::kUnbiased : RandK::Scale::kContractive,
                                             per_rank ? RandK::Seed::kRank : RandK::Seed::kShared, values);
      },
      .examples = {"randk(ratio=0.1)", "randk(k=3)", "randk(ratio=0.1, scale=unbiased)",
                   "randk(ratio=0.1, scale=unbiased, seed=rank)", "randk(ratio=0.1, values=bf16)"},
  };
}

}  // namespace laconic
