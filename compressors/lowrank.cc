#include "compressors/lowrank.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/lowrank_session.h"
#include "compressors/matrix.h"
#include "fmt/format.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

// Both factors in this thread's work memory, and the view of them that products take.
struct WorkFactors {
  std::span<float> p, q;
  LowRankFactors view;
};

WorkFactors NewWorkFactors(const Shape& shape, size_t rank) {
  WorkFactors factors;
  factors.p = Scratch<float>(ScratchUse::kMatrixA, shape.rows() * rank);
  factors.q = Scratch<float>(ScratchUse::kMatrixB, shape.cols() * rank);
  factors.view = {.rows = shape.rows(), .cols = shape.cols(), .rank = rank, .p = factors.p, .q = factors.q};
  return factors;
}

// Can P Q^T overflow, as far as the magnitudes of its factors say?
bool MayOverflow(const LowRankFactors& factors) {
  const auto largest = [](std::span<const float> values) {
    float magnitude = 0;
    for (const float value : values) magnitude = std::max(magnitude, std::abs(value));
    return static_cast<double>(magnitude);
  };
  const double bound = static_cast<double>(factors.rank) * largest(factors.p) * largest(factors.q);
  return bound > static_cast<double>(std::numeric_limits<float>::max());
}

absl::Status CheckFactorFinite(std::string_view name, std::span<const float> factor) {
  const size_t first = kernels::FirstNonFinite(factor);
  if (first == factor.size()) return absl::OkStatus();
  return absl::DataLossError(fmt::format("lowrank body: element {} of {} is {}", first, name, factor[first]));
}

absl::Status CheckProductFinite(const LowRankFactors& factors) {
  absl::Status status;
  ForEachProductTile(factors, [&](size_t offset, std::span<const float> tile) {
    const size_t first = kernels::FirstNonFinite(tile);
    if (first == tile.size() || !status.ok()) return;
    status = absl::DataLossError(fmt::format("lowrank body: element {} of P Q^T overflows", offset + first));
  });
  return status;
}

}  // namespace

std::string LowRank::ToString() const { return fmt::format("lowrank(rank={}, iterations={})", rank_, iterations_); }

size_t LowRank::RankOf(const Shape& shape) const {
  return static_cast<size_t>(std::min<uint64_t>(rank_, std::min(shape.rows(), shape.cols())));
}

Traits LowRank::traits(const Shape& shape) const {
  const uint64_t side = std::min(shape.rows(), shape.cols());
  const double delta = side == 0 ? 1.0 : static_cast<double>(RankOf(shape)) / static_cast<double>(side);
  Traits traits;
  traits.delta = delta;
  traits.fixed_size = true;
  traits.linear = true;
  traits.suggested_eta = delta;
  return traits;
}

absl::Status LowRank::Supports(const Shape& shape) const {
  const uint64_t rows = shape.rows();
  const uint64_t cols = shape.cols();
  const size_t rank = RankOf(shape);
  if (rank * (rows + cols) >= rows * cols) {
    return absl::InvalidArgumentError(
        fmt::format("lowrank(rank={}) would not make {} smaller: as a {} x {} matrix its factors take {} of {} floats; "
                    "send it dense",
                    rank_, shape.ToString(), rows, cols, rank * (rows + cols), rows * cols));
  }
  return absl::OkStatus();
}

size_t LowRank::MaxBodyBytes(const Shape& shape) const {
  return RankOf(shape) * (shape.rows() + shape.cols()) * sizeof(float);
}

absl::StatusOr<size_t> LowRank::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                       std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(Supports(shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("lowrank", x.size(), shape));
  const size_t body_bytes = MaxBodyBytes(shape);
  LACONIC_RETURN_IF_ERROR(CheckRoom("lowrank", body.size(), body_bytes));
  const size_t rows = shape.rows();
  const size_t cols = shape.cols();
  const size_t rank = RankOf(shape);
  const WorkFactors factors = NewWorkFactors(shape, rank);
  const CounterRng rng(key);
  const uint64_t after_start = factors.q.size();  // first block of `rng` not used by Q0

  FillNearlyNormal(rng, 0, factors.q);
  for (int iteration = 0; iteration <= iterations_; ++iteration) {
    MultiplyMatrixByFactor(x, rows, cols, factors.q, rank, factors.p);
    LACONIC_RETURN_IF_ERROR(CheckLowRankProduct(x, factors.p));
    Orthonormalize(factors.p, rows, rng, after_start);
    MultiplyTransposeByFactor(x, rows, cols, factors.p, rank, factors.q);
    LACONIC_RETURN_IF_ERROR(CheckLowRankProduct(x, factors.q));
    if (iteration < iterations_) ScaleColumns(factors.q, cols);
  }
  if (MayOverflow(factors.view) && !CheckProductFinite(factors.view).ok()) return LowRankOverflow();
  std::memcpy(body.data(), factors.p.data(), factors.p.size_bytes());
  std::memcpy(body.data() + factors.p.size_bytes(), factors.q.data(), factors.q.size_bytes());
  return body_bytes;
}

absl::StatusOr<size_t> LowRank::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                               std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("lowrank", residual.size(), shape));
  message.Form(0, residual);
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, Encode(residual, shape, key, body));
  // Encode left its factors in this thread's work memory; asking for the same sizes again gives them back.
  const WorkFactors factors = NewWorkFactors(shape, RankOf(shape));
  ForEachProductTile(factors.view, [&](size_t offset, std::span<const float> tile) {
    float* x = residual.data() + offset;
    for (size_t t = 0; t < tile.size(); ++t) x[t] -= tile[t];
  });
  return body_bytes;
}

absl::Status LowRank::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(Supports(shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("lowrank", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("lowrank", body.size(), MaxBodyBytes(shape)));
  const WorkFactors factors = NewWorkFactors(shape, RankOf(shape));
  std::memcpy(factors.p.data(), body.data(), factors.p.size_bytes());
  std::memcpy(factors.q.data(), body.data() + factors.p.size_bytes(), factors.q.size_bytes());
  LACONIC_RETURN_IF_ERROR(CheckFactorFinite("P", factors.p));
  LACONIC_RETURN_IF_ERROR(CheckFactorFinite("Q", factors.q));
  if (MayOverflow(factors.view)) LACONIC_RETURN_IF_ERROR(CheckProductFinite(factors.view));
  ForEachProductTile(factors.view, [&](size_t offset, std::span<const float> tile) {
    float* sum = acc.data() + offset;
    for (size_t t = 0; t < tile.size(); ++t) sum[t] += scale * tile[t];
  });
  return absl::OkStatus();
}

std::unique_ptr<LinearSession> LowRank::NewLinearSession(const Shape& shape, const RngKey& init) const {
  if (!Supports(shape).ok()) return nullptr;
  return std::make_unique<LowRankSession>(shape.rows(), shape.cols(), RankOf(shape), init);
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo LowRankInfo() {
  const std::vector<ParameterInfo> parameters = {
      {.key = "rank",
       .type = fmt::format("1..{}", internal::LowRank::kMaxRank),
       .default_value = "4",
       .help = "columns of the factors, clamped to the smaller side of each matrix"},
      {.key = "iterations",
       .type = fmt::format("0..{}", internal::LowRank::kMaxIterations),
       .default_value = "1",
       .help = "rounds of subspace iteration when a tensor is sent as bytes (gather, scatter, server)"},
  };
  return {
      .name = "lowrank",
      .id = CodecId::kLowRank,
      .summary = "low-rank factors of each matrix, warm-started where ranks can sum them; vectors go dense",
      .source = "PowerSGD: Vogels, Karimireddy and Jaggi 2019",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        SpecArguments arguments(call, parameters);
        const int64_t rank = arguments.Integer("rank", 4, 1, internal::LowRank::kMaxRank);
        const int64_t iterations = arguments.Integer("iterations", 1, 0, internal::LowRank::kMaxIterations);
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        return std::make_shared<internal::LowRank>(static_cast<size_t>(rank), static_cast<int>(iterations));
      },
      .examples = {"lowrank(rank=4)", "lowrank(rank=1, iterations=0)", "lowrank(rank=2, iterations=1)",
                   "lowrank(rank=3, iterations=2)"},
  };
}

}  // namespace laconic
