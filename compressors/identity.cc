#include "compressors/identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/message_runs.h"
#include "laconic/base/parallel.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kRun = MessageRuns::kUsual;

}  // namespace

Traits Identity::traits(const Shape& shape) const {
  return {.delta = 1, .omega = 0, .deterministic = true, .fixed_size = true, .suggested_eta = 1};
}

absl::StatusOr<size_t> Identity::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                        std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", x.size(), shape));
  return EncodeElements(x, {}, body);
}

absl::StatusOr<size_t> Identity::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", residual.size(), shape));
  return EncodeElements(message, residual, body);
}

absl::StatusOr<size_t> Identity::EncodeElements(const Message& message, std::span<float> residual,
                                                std::span<std::byte> body) const {
  const size_t body_bytes = message.size() * sizeof(float);
  LACONIC_RETURN_IF_ERROR(CheckRoom("identity", body.size(), body_bytes));
  std::atomic<bool> is_finite = true;
  ParallelFor(message.size(), kGrain, [&](size_t begin, size_t end) {
    MessageRuns runs(message, residual);
    for (size_t first = begin; first < end; first += kRun) {
      float largest = 0;
      const std::span<float> run = runs.Form(first, std::min(kRun, end - first), largest);
      if (!std::isfinite(largest)) {
        is_finite = false;
        return;
      }
      std::memcpy(body.data() + first * sizeof(float), run.data(), run.size_bytes());
      if (!runs.leaves_residual()) continue;
      std::fill(run.begin(), run.end(), 0.0f);
      runs.Leave();
    }
  });
  if (!is_finite) return CheckFinite("identity", message);
  return body_bytes;
}

absl::Status Identity::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                 std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("identity", body.size(), acc.size_bytes()));
  FirstFailure failure;
  ParallelFor(acc.size(), kGrain, [&](size_t begin, size_t end) {
    std::array<float, kRun> buffer;  // the body may lie at any address
    for (size_t first = begin; first < end; first += kRun) {
      const size_t count = std::min(kRun, end - first);
      const std::span<float> values = std::span<float>(buffer).first(count);
      std::memcpy(values.data(), body.data() + first * sizeof(float), values.size_bytes());
      if (const size_t bad = kernels::FirstNonFinite(values); bad < count) {
        return failure.Set(
            begin, absl::DataLossError(fmt::format("identity body: element {} is {}", first + bad, values[bad])));
      }
      kernels::ScaleAdd(values, scale, acc.subspan(first, count));
    }
  });
  return failure.status();
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo IdentityInfo() {
  return {
      .name = "identity",
      .id = CodecId::kIdentity,
      .summary = "the floats as they are",
      .source = "IEEE 754",
      .parameters = {},
      .create = [](const SpecCall& call, const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        LACONIC_RETURN_IF_ERROR(SpecArguments(call, {}).Finish());
        return std::make_shared<const internal::Identity>();
      },
      .examples = {"identity"},
  };
}

}  // namespace laconic
