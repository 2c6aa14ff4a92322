// Bit packing, least significant bit first, eight bytes at a time. Bit i of a stream is bit i % 8 of byte i / 8; the
// last byte is padded with zeros.
#pragma once

#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace laconic::internal {

// The low `bits` bits set; bits in [0, 64].
constexpr uint64_t LowBits(int bits) { return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }

// Writes into memory of exactly the right size, which the caller knows beforehand (asserted). One thread at a time.
class BitWriter {
 public:
  explicit BitWriter(std::span<std::byte> out) : out_(out) {}

  // The low `bits` bits of `value`, which has no others set; bits in [0, 64].
  void Put(uint64_t value, int bits) {
    assert((value & ~LowBits(bits)) == 0);
    if (bits > kShort) {
      PutShort(value & LowBits(32), 32);
      PutShort(value >> 32, bits - 32);
    } else {
      PutShort(value, bits);
    }
  }

  // `zeros` zero bits, then a one.
  void PutUnary(uint64_t zeros) {
    for (; zeros >= kShort; zeros -= kShort) PutShort(0, kShort);
    PutShort(uint64_t{1} << zeros, static_cast<int>(zeros) + 1);
  }

  // Put for bits in [0, kShort], without a branch that data decides.
  static constexpr int kShort = 56;
  void PutShort(uint64_t value, int bits) {
    pending_ |= value << filled_;
    filled_ += bits;
    const auto whole = static_cast<size_t>(filled_) / 8;
    const size_t room = out_.size() - position_;
    assert(whole <= room);
    std::memcpy(out_.data() + position_, &pending_, room >= sizeof(pending_) ? sizeof(pending_) : whole);
    position_ += whole;
    pending_ >>= filled_ & ~7;
    filled_ &= 7;
  }

  // Pads the last byte with zeros; the stream must then fill `out`.
  void Finish() {
    if (filled_ > 0) out_[position_++] = static_cast<std::byte>(pending_);
    filled_ = 0;
    assert(position_ == out_.size());
  }

 private:
  std::span<std::byte> out_;
  size_t position_ = 0;
  uint64_t pending_ = 0;
  int filled_ = 0;  // bits of pending_ in use, < 8
};

// Reads untrusted bytes. Reading past the end sets a sticky failure and yields zeros. One thread at a time.
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> in) : in_(in), end_(uint64_t{in.size()} * 8) {}

  // The next `bits` bits; bits in [0, 64].
  uint64_t Get(int bits) {
    if (static_cast<uint64_t>(bits) > end_ - position_) return Fail();
    uint64_t value = Window();
    if (bits > kWindowBits) {
      position_ += 32;
      value = (value & LowBits(32)) | (Window() << 32);
      position_ -= 32;
    }
    position_ += static_cast<uint64_t>(bits);
    return value & LowBits(bits);
  }

  // The number of zero bits before the next one bit, which is consumed too.
  uint64_t GetUnary() {
    uint64_t zeros = 0;
    while (position_ < end_) {
      const uint64_t window = Window() & LowBits(kWindowBits);  // zeros beyond the end
      if (window != 0) {
        const int run = std::countr_zero(window);
        position_ += static_cast<uint64_t>(run) + 1;
        return zeros + static_cast<uint64_t>(run);
      }
      const uint64_t step = end_ - position_ < kWindowBits ? end_ - position_ : uint64_t{kWindowBits};
      position_ += step;
      zeros += step;
    }
    return Fail();
  }

  // At least kWindowBits bits from the position on, zeros beyond the end, in Peek(); Skip(bits) moves on by what was
  // made of them, at most bits_left().
  static constexpr int kWindowBits = 57;  // what an unaligned load always has after shifting out up to 7 bits
  uint64_t Peek() const { return Window(); }
  void Skip(uint64_t bits) {
    assert(bits <= bits_left());
    position_ += bits;
  }
  uint64_t bits_left() const { return end_ - position_; }

  bool ok() const { return !failed_; }
  // Every read was in bounds, less than a byte is left, and it is zero.
  bool AtEnd() const { return ok() && end_ - position_ < 8 && (position_ == end_ || (Window() == 0)); }

 private:
  // At least kWindowBits bits from position_ on, zeros beyond the end.
  uint64_t Window() const {
    const size_t byte = position_ / 8;
    const size_t left = in_.size() - byte;
    uint64_t word = 0;
    if (left >= sizeof(word)) {
      std::memcpy(&word, in_.data() + byte, sizeof(word));
    } else if (left > 0) {
      std::memcpy(&word, in_.data() + byte, left);
    }
    return word >> (position_ % 8);
  }

  uint64_t Fail() {
    failed_ = true;
    position_ = end_;
    return 0;
  }

  std::span<const std::byte> in_;
  uint64_t end_;  // in bits
  uint64_t position_ = 0;
  bool failed_ = false;
};

}  // namespace laconic::internal
