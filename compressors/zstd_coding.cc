#include "compressors/zstd_coding.h"

#include <fmt/format.h>
#include <zstd.h>

#include <memory>

namespace laconic::internal {
namespace {

constexpr int kLevel = 1;

struct Free {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

std::optional<size_t> ZstdEncode(std::span<const std::byte> in, std::span<std::byte> out) {
  thread_local const std::unique_ptr<ZSTD_CCtx, Free> context(ZSTD_createCCtx());
  if (context == nullptr) return std::nullopt;
  const size_t bytes = ZSTD_compressCCtx(context.get(), out.data(), out.size(), in.data(), in.size(), kLevel);
  if (ZSTD_isError(bytes) != 0) return std::nullopt;
  return bytes;
}

absl::Status ZstdDecode(std::span<const std::byte> in, std::span<std::byte> out) {
  thread_local const std::unique_ptr<ZSTD_DCtx, Free> context(ZSTD_createDCtx());
  if (context == nullptr) return absl::ResourceExhaustedError("no memory for zstd");
  const size_t bytes = ZSTD_decompressDCtx(context.get(), out.data(), out.size(), in.data(), in.size());
  if (ZSTD_isError(bytes) != 0) return absl::DataLossError(fmt::format("zstd: {}", ZSTD_getErrorName(bytes)));
  if (bytes != out.size()) return absl::DataLossError(fmt::format("zstd: {} bytes, expected {}", bytes, out.size()));
  return absl::OkStatus();
}

}  // namespace laconic::internal
