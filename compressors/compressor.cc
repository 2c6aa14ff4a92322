#include "laconic/compressors/compressor.h"

#include "laconic/base/status.h"

namespace laconic {

absl::StatusOr<size_t> Compressor::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                  std::span<float> residual, std::span<std::byte> body) const {
  message.Form(0, residual);
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes, Encode(residual, shape, key, body));
  LACONIC_RETURN_IF_ERROR(DecodeAdd(body.first(body_bytes), shape, -1.0f, residual));
  return body_bytes;
}

std::unique_ptr<LinearSession> Compressor::NewLinearSession(const Shape& shape, const RngKey& init) const {
  return nullptr;
}

}  // namespace laconic
