#include "laconic/base/byte_io.h"

#include <fmt/format.h>

namespace laconic {

void ByteWriter::PutBytes(std::span<const std::byte> bytes) {
  const std::span<std::byte> to = Claim(bytes.size());
  if (!to.empty()) std::memcpy(to.data(), bytes.data(), bytes.size());
}

std::span<std::byte> ByteWriter::Claim(size_t count) {
  if (failed_ || count > out_.size() - position_) {
    failed_ = true;
    return {};
  }
  const std::span<std::byte> claimed = out_.subspan(position_, count);
  position_ += count;
  return claimed;
}

absl::Status ByteWriter::Finish(std::string_view what) const {
  if (!failed_) return absl::OkStatus();
  return absl::ResourceExhaustedError(fmt::format("{}: needs more than {} bytes", what, out_.size()));
}

std::span<const std::byte> ByteReader::Take(uint64_t count) {
  if (failed_ || count > remaining()) {
    failed_ = true;
    return {};
  }
  const std::span<const std::byte> taken = in_.subspan(position_, count);
  position_ += count;
  return taken;
}

absl::Status ByteReader::Finish(std::string_view what) const {
  if (failed_) {
    return absl::DataLossError(
        fmt::format("{}: ends too early: a read at byte {} of {} goes past the end", what, position_, in_.size()));
  }
  if (position_ != in_.size()) {
    return absl::DataLossError(
        fmt::format("{}: {} bytes left over at byte {} of {}", what, remaining(), position_, in_.size()));
  }
  return absl::OkStatus();
}

}  // namespace laconic
