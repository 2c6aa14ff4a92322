#include "compressors/identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "laconic/base/status.h"

namespace laconic::internal {

Traits Identity::traits(const Shape& shape) const {
  return {.delta = 1, .omega = 0, .deterministic = true, .fixed_size = true, .suggested_eta = 1};
}

absl::StatusOr<size_t> Identity::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                        std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("identity", body.size(), x.size_bytes()));
  LACONIC_RETURN_IF_ERROR(CheckFinite("identity", x));
  if (!x.empty()) std::memcpy(body.data(), x.data(), x.size_bytes());
  return x.size_bytes();
}

absl::StatusOr<size_t> Identity::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", residual.size(), shape));
  message.Form(0, residual);
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, Encode(residual, shape, key, body));
  std::fill(residual.begin(), residual.end(), 0.0f);
  return body_bytes;
}

absl::Status Identity::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                 std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("identity", acc.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("identity", body.size(), acc.size_bytes()));
  std::array<float, 1024> buffer;  // the body may lie at any address
  for (size_t first = 0; first < acc.size(); first += buffer.size()) {
    const size_t count = std::min(buffer.size(), acc.size() - first);
    const std::span<float> values = std::span<float>(buffer).first(count);
    std::memcpy(values.data(), body.data() + first * sizeof(float), values.size_bytes());
    if (const size_t bad = kernels::FirstNonFinite(values); bad < count) {
      return absl::DataLossError(fmt::format("identity body: element {} is {}", first + bad, values[bad]));
    }
    kernels::ScaleAdd(values, scale, acc.subspan(first, count));
  }
  return absl::OkStatus();
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
