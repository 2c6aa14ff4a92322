// Bounds-checked little-endian reading and writing of byte strings. The one place where untrusted bytes become numbers.
// The first read or write past the end sets a sticky error; what follows it is a no-op that yields zeros. So callers
// read straight through and check once, before they use any value as an index, a length or a trip count.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"

namespace laconic {

static_assert(std::endian::native == std::endian::little, "payloads are copied as they lie in memory");

template <typename T>
concept WireScalar = std::is_trivially_copyable_v<T> &&
    (std::integral<T> || std::floating_point<T> || std::is_enum_v<T>);

// One thread at a time.
class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> out) : out_(out) {}

  template <WireScalar T>
  void Put(T value) {
    PutBytes(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  void PutBytes(std::span<const std::byte> bytes);
  template <WireScalar T>
  void PutArray(std::span<const T> values) {
    PutBytes(std::as_bytes(values));
  }
  // The next `count` bytes, for a writer of its own kind (bit packing); empty after an error.
  std::span<std::byte> Claim(size_t count);

  size_t written() const { return position_; }
  std::span<std::byte> rest() const { return out_.subspan(position_); }
  // OK, or ResourceExhausted "<what>: needs more than <capacity> bytes".
  absl::Status Finish(std::string_view what) const;

 private:
  std::span<std::byte> out_;
  size_t position_ = 0;
  bool failed_ = false;
};

// One thread at a time.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> in) : in_(in) {}

  template <WireScalar T>
  T Get() {
    T value{};
    if (std::span<const std::byte> bytes = Take(sizeof(T)); !bytes.empty())
      std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  // The next `count` bytes; empty (and the sticky error set) when fewer are left.
  std::span<const std::byte> Take(uint64_t count);

  bool ok() const { return !failed_; }
  size_t position() const { return position_; }
  size_t remaining() const { return in_.size() - position_; }
  // OK when every read was in bounds and nothing is left over; else DataLoss naming `what`, the position and the
  // length.
  absl::Status Finish(std::string_view what) const;

 private:
  std::span<const std::byte> in_;
  size_t position_ = 0;
  bool failed_ = false;
};

}  // namespace laconic
