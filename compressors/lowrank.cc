#include "compressors/lowrank.h"

#include <algorithm>
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

// Both factors in this thread's work memory. Asking for the same sizes again gives the same memory, contents and all.
struct Factors {
  kernels::MatrixShape shape;
  std::span<float> p, q;
};

Factors WorkFactors(const Shape& shape, size_t rank) {
  return {.shape = {.rows = shape.rows(), .cols = shape.cols(), .rank = rank},
          .p = Scratch<float>(ScratchUse::kMatrixA, shape.rows() * rank),
          .q = Scratch<float>(ScratchUse::kMatrixB, shape.cols() * rank)};
}

// Can P Q^T overflow, as far as the magnitudes of its factors say?
bool MayOverflow(const Factors& factors) {
  const double largest_p = kernels::AbsMax(factors.p);
  const double largest_q = kernels::AbsMax(factors.q);
  const double bound = static_cast<double>(factors.shape.rank) * largest_p * largest_q;
  return bound > static_cast<double>(std::numeric_limits<float>::max());
}

absl::Status CheckFactorFinite(std::string_view name, std::span<const float> factor) {
  const size_t first = kernels::FirstNonFinite(factor);
  if (first == factor.size()) return absl::OkStatus();
  return absl::DataLossError(fmt::format("lowrank body: element {} of {} is {}", first, name, factor[first]));
}

absl::Status CheckProductFinite(const Factors& factors) {
  // Row by row, each as the product of one row of P.
  const auto& [rows, cols, rank] = factors.shape;
  const std::span<float> p_row = Scratch<float>(ScratchUse::kValues, rank);
  const std::span<float> y = Scratch<float>(ScratchUse::kMatrixC, cols);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t k = 0; k < rank; ++k) p_row[k] = factors.p[k * rows + i];
    kernels::Product({.rows = 1, .cols = cols, .rank = rank}, p_row, factors.q, {0, 1}, y);
    if (const size_t first = kernels::FirstNonFinite(y); first < cols) {
      return absl::DataLossError(fmt::format("lowrank body: element {} of P Q^T overflows", i * cols + first));
    }
  }
  return absl::OkStatus();
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
  return EncodeMessage(x, shape, key, {}, body);
}

absl::StatusOr<size_t> LowRank::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                               std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("lowrank", residual.size(), shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, EncodeMessage(message, shape, key, residual, body));
  const Factors factors = WorkFactors(shape, RankOf(shape));  // those of the body
  AddProduct(factors.shape, factors.p, factors.q, -1.0f, residual);
  return body_bytes;
}

absl::StatusOr<size_t> LowRank::EncodeMessage(const Message& message, const Shape& shape, const RngKey& key,
                                              std::span<float> formed, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(Supports(shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("lowrank", message.size(), shape));
  const size_t body_bytes = MaxBodyBytes(shape);
  LACONIC_RETURN_IF_ERROR(CheckRoom("lowrank", body.size(), body_bytes));
  const Factors factors = WorkFactors(shape, RankOf(shape));
  const std::span<const float> x = formed.empty() ? message.gradient : std::span<const float>(formed);
  const CounterRng rng(key);
  const uint64_t after_start = factors.q.size();  // first block of `rng` not used by Q0

  FillNearlyNormal(rng, 0, factors.q);
  for (int iteration = 0; iteration <= iterations_; ++iteration) {
    if (iteration == 0) {
      MultiplyByFactor(factors.shape, message, factors.q, formed, factors.p);
    } else {
      MultiplyByFactor(factors.shape, x, factors.q, {}, factors.p);
    }
    LACONIC_RETURN_IF_ERROR(CheckLowRankProduct(x, factors.p));
    Orthonormalize(factors.p, factors.shape.rows, rng, after_start);
    MultiplyTransposeByFactor(factors.shape, x, factors.p, factors.q);
    LACONIC_RETURN_IF_ERROR(CheckLowRankProduct(x, factors.q));
    if (iteration < iterations_) ScaleColumns(factors.q, factors.shape.cols);
  }
  if (MayOverflow(factors) && !CheckProductFinite(factors).ok()) return LowRankOverflow();
  std::memcpy(body.data(), factors.p.data(), factors.p.size_bytes());
  std::memcpy(body.data() + factors.p.size_bytes(), factors.q.data(), factors.q.size_bytes());
  return body_bytes;
}

absl::Status LowRank::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(Supports(shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("lowrank", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("lowrank", body.size(), MaxBodyBytes(shape)));
  const Factors factors = WorkFactors(shape, RankOf(shape));
  std::memcpy(factors.p.data(), body.data(), factors.p.size_bytes());
  std::memcpy(factors.q.data(), body.data() + factors.p.size_bytes(), factors.q.size_bytes());
  LACONIC_RETURN_IF_ERROR(CheckFactorFinite("P", factors.p));
  LACONIC_RETURN_IF_ERROR(CheckFactorFinite("Q", factors.q));
  if (MayOverflow(factors)) LACONIC_RETURN_IF_ERROR(CheckProductFinite(factors));
  AddProduct(factors.shape, factors.p, factors.q, scale, acc);
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
