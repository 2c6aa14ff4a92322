#include "laconic/compressors/compressor.h"

#include "laconic/base/status.h"

namespace laconic {

absl::StatusOr<size_t> Compressor::EncodeResidual(std::span<float> x_to_residual, const Shape& shape, const RngKey& key,
                                                  std::span<std::byte> body) const {
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, Encode(x_to_residual, shape, key, body));
  LACONIC_RETURN_IF_ERROR(DecodeAdd(body.first(body_bytes), shape, -1.0f, x_to_residual));
  return body_bytes;
}

std::unique_ptr<LinearSession> Compressor::NewLinearSession(const Shape& shape, const RngKey& init) const {
  return nullptr;
}

}  // namespace laconic
