#include "compressors/randk.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/permutation.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kChunk = 256;  // positions worked on at a time

constexpr std::array<std::string_view, 2> kScales = {"contractive", "unbiased"};
constexpr std::array<std::string_view, 2> kSeeds = {"shared", "rank"};

// Calls visit(first, positions) for the k positions of `derived_key`, a chunk at a time, until it gives an error.
template <typename Visit>
absl::Status ForEachChunk(uint64_t derived_key, uint64_t k, uint64_t d, Visit visit) {
  if (k == 0) return absl::OkStatus();
  const KeyedPermutation permutation(derived_key, d);
  std::array<uint64_t, kChunk> positions;
  for (uint64_t first = 0; first < k; first += kChunk) {
    const auto some = std::span(positions).first(static_cast<size_t>(std::min<uint64_t>(kChunk, k - first)));
    permutation.Images(first, some);
    LACONIC_RETURN_IF_ERROR(visit(first, std::span<const uint64_t>(some)));
  }
  return absl::OkStatus();
}

// out[j] = factor * x[position j].   out: k floats.
absl::Status GatherScaled(std::span<const float> x, uint64_t derived_key, float factor, std::span<float> out) {
  LACONIC_RETURN_IF_ERROR(CheckFinite("randk", x));
  return ForEachChunk(derived_key, out.size(), x.size(), [&](uint64_t first, std::span<const uint64_t> positions) {
    for (size_t j = 0; j < positions.size(); ++j) {
      const float value = factor * x[positions[j]];
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError(fmt::format("randk: element {} of {}: {} times d/k = {} overflows",
                                                      positions[j], x.size(), x[positions[j]], factor));
      }
      out[first + j] = value;
    }
    return absl::OkStatus();
  });
}

// One round of k floats, which lie at the same positions on all ranks.
class RandKSession final : public LinearSession {
 public:
  RandKSession(uint64_t k, uint64_t d, float factor) : elements_(d), factor_(factor), local_(k), mean_(k) {}

  int rounds() const override { return 1; }
  size_t RoundFloats(int round) const override { return local_.size(); }

  void Begin(const RngKey& step_key, std::span<float> residual) override {
    derived_key_ = CounterRng(step_key.Shared()).derived_key();
    residual_ = residual;
  }

  absl::Status Produce(int round, const Message& message, std::span<float> out) override {
    if (!residual_.empty()) message.Form(0, residual_);
    const std::span<const float> x = residual_.empty() ? message.gradient : std::span<const float>(residual_);
    if (x.size() != elements_ || out.size() != local_.size()) {
      return absl::InvalidArgumentError(
          fmt::format("randk: {} floats to {}, expected {} to {}", x.size(), out.size(), elements_, local_.size()));
    }
    LACONIC_RETURN_IF_ERROR(GatherScaled(x, derived_key_, factor_, local_));
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
    if (residual_.empty()) return;
    ForEachChunk(derived_key_, local_.size(), elements_, [&](uint64_t first, std::span<const uint64_t> positions) {
      for (size_t j = 0; j < positions.size(); ++j) residual_[positions[j]] -= local_[first + j];
      return absl::OkStatus();
    }).IgnoreError();
  }

  // Nothing lasts: the positions of a step follow from its key.
  void Commit() override {}
  void Save(StateWriter& out) const override {}
  absl::Status Load(const StateReader& in) override { return absl::OkStatus(); }

 private:
  void Scatter(std::span<const float> values, std::span<float> y) const {
    std::fill(y.begin(), y.end(), 0.0f);
    ForEachChunk(derived_key_, values.size(), elements_, [&](uint64_t first, std::span<const uint64_t> positions) {
      for (size_t j = 0; j < positions.size(); ++j) y[positions[j]] = values[first + j];
      return absl::OkStatus();
    }).IgnoreError();
  }

  uint64_t elements_;
  float factor_;
  uint64_t derived_key_ = 0;
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

absl::StatusOr<size_t> RandK::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                     std::span<std::byte> body) const {
  const uint64_t d = shape.elements();
  LACONIC_RETURN_IF_ERROR(CheckFloats("randk", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("randk", body.size(), MaxBodyBytes(shape)));
  if (d == 0) return 0;
  const uint64_t derived_key = CounterRng(seed_ == Seed::kShared ? key.Shared() : key).derived_key();
  const std::span<float> values = Scratch<float>(ScratchUse::kValues, sparsity_.Kept(d));
  LACONIC_RETURN_IF_ERROR(GatherScaled(x, derived_key, Factor(values.size(), d), values));
  ByteWriter out(body);
  out.Put(derived_key);
  const std::span<std::byte> value_block = out.Claim(ValueBytes(values_, values.size()));
  LACONIC_RETURN_IF_ERROR(out.Finish("randk body"));
  EncodeValues(values_, values, value_block);
  return out.written();
}

absl::Status RandK::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                              std::span<float> acc) const {
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  LACONIC_RETURN_IF_ERROR(CheckFloats("randk", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("randk", body.size(), MaxBodyBytes(shape)));
  if (d == 0) return absl::OkStatus();
  ByteReader in(body);
  const auto derived_key = in.Get<uint64_t>();
  const absl::StatusOr<ValueReader> values = ValueReader::Open(values_, k, in.Take(in.remaining()));
  if (!values.ok()) return Annotate(values.status(), "randk body");
  const auto add = [&](uint64_t first, std::span<const uint64_t> positions) {
    std::array<float, kChunk> chunk;
    LACONIC_RETURN_IF_ERROR(values->Read(first, std::span(chunk).first(positions.size())));
    for (size_t j = 0; j < positions.size(); ++j) acc[positions[j]] += scale * chunk[j];
    return absl::OkStatus();
  };
  return Annotate(ForEachChunk(derived_key, k, d, add), "randk body");
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
