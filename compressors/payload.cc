#include "laconic/compressors/payload.h"

#include <fmt/format.h>

#include <array>
#include <cassert>
#include <utility>

#include "compressors/frame.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/hash.h"

namespace laconic {
namespace {

constexpr uint32_t kMagic = 0x4e43414c;  // "LACN", little-endian

}  // namespace

size_t SealPayload(const PayloadHeader& header, size_t body_bytes, std::span<std::byte> frame) {
  assert(frame.size() >= kPayloadHeaderBytes + body_bytes);
  ByteWriter out(frame.first(kPayloadHeaderBytes));
  out.Put(kMagic);
  out.Put(kPayloadVersion);
  out.Put(header.codec);
  out.Put(uint16_t{0});
  out.Put(header.tensor);
  out.Put(header.part);
  out.Put(header.step);
  out.Put(header.elements);
  out.Put(uint64_t{body_bytes});
  out.Put(Hash64(frame.subspan(kPayloadHeaderBytes, body_bytes)));
  assert(out.written() == kPayloadHeaderBytes);
  return kPayloadHeaderBytes + body_bytes;
}

absl::StatusOr<std::span<const std::byte>> internal::OpenFrame(std::span<const std::byte> bytes,
                                                               const PayloadHeader& expected, size_t max_body_bytes,
                                                               absl::FunctionRef<std::string()> whose,
                                                               size_t* frame_bytes) {
  const auto reject = [&](const std::string& what) {
    return absl::DataLossError(fmt::format("payload of {}: {}", whose(), what));
  };
  if (bytes.size() < kPayloadHeaderBytes) {
    return reject(fmt::format("{} bytes, a header has {}", bytes.size(), kPayloadHeaderBytes));
  }
  ByteReader in(bytes);
  if (const auto magic = in.Get<uint32_t>(); magic != kMagic) {
    return reject(fmt::format("magic {:#010x}, expected {:#010x}", magic, kMagic));
  }
  const std::array<std::pair<std::string_view, std::array<uint64_t, 2>>, 7> fields = {{
      {"version", {in.Get<uint8_t>(), kPayloadVersion}},
      {"codec", {in.Get<uint8_t>(), static_cast<uint64_t>(expected.codec)}},
      {"flags", {in.Get<uint16_t>(), 0}},
      {"tensor", {in.Get<uint32_t>(), expected.tensor}},
      {"part", {in.Get<uint32_t>(), expected.part}},
      {"step", {in.Get<uint64_t>(), expected.step}},
      {"elements", {in.Get<uint64_t>(), expected.elements}},
  }};
  for (const auto& [name, values] : fields) {
    if (values[0] != values[1]) return reject(fmt::format("{} {}, expected {}", name, values[0], values[1]));
  }
  const auto body_bytes = in.Get<uint64_t>();
  const auto checksum = in.Get<uint64_t>();
  if (body_bytes > max_body_bytes) {
    return reject(fmt::format("body of {} bytes, at most {} expected", body_bytes, max_body_bytes));
  }
  if (body_bytes > in.remaining()) {
    return reject(fmt::format("body of {} bytes, but only {} follow", body_bytes, in.remaining()));
  }
  const std::span<const std::byte> body = in.Take(body_bytes);
  if (frame_bytes == nullptr && in.remaining() > 0) {
    return reject(fmt::format("{} bytes follow the body", in.remaining()));
  }
  if (const uint64_t found = Hash64(body); found != checksum) {
    return reject(fmt::format("checksum {:016x} of the body, expected {:016x}", found, checksum));
  }
  if (frame_bytes != nullptr) *frame_bytes = kPayloadHeaderBytes + body.size();
  return body;
}

absl::StatusOr<std::span<const std::byte>> OpenPayload(std::span<const std::byte> bytes, const PayloadHeader& expected,
                                                       size_t max_body_bytes, std::string_view tensor_name,
                                                       int from_rank, size_t* frame_bytes) {
  const auto whose = [&] { return fmt::format("tensor {} from rank {}", tensor_name, from_rank); };
  return internal::OpenFrame(bytes, expected, max_body_bytes, whose, frame_bytes);
}

}  // namespace laconic
