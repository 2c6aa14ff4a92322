#include "compressors/number_planes.h"

#include <algorithm>
#include <cstring>

namespace laconic::internal {
namespace {

// One format each: the number as an unsigned integer, its symbol, its 8 raw bits, its 16 raw bits.
struct Bytes {
  using Number = uint8_t;
  static constexpr bool kHasUpper = false;
  static uint8_t Symbol(uint8_t value) { return value; }
};
struct Bf16 {
  using Number = uint16_t;
  static constexpr bool kHasUpper = true, kHasLower = false;
  static uint8_t Symbol(uint16_t value) { return static_cast<uint8_t>(value >> 7); }
  static uint8_t Upper(uint16_t value) { return static_cast<uint8_t>((value >> 8 & 0x80) | (value & 0x7f)); }
  static uint16_t Lower(uint16_t) { return 0; }
  static uint16_t Join(uint8_t symbol, uint8_t upper, uint16_t) {
    return static_cast<uint16_t>((upper & 0x80) << 8 | symbol << 7 | (upper & 0x7f));
  }
};
struct Fp16 {
  using Number = uint16_t;
  static constexpr bool kHasUpper = true, kHasLower = false;
  static uint8_t Symbol(uint16_t value) { return static_cast<uint8_t>(value >> 8); }
  static uint8_t Upper(uint16_t value) { return static_cast<uint8_t>(value); }
  static uint16_t Lower(uint16_t) { return 0; }
  static uint16_t Join(uint8_t symbol, uint8_t upper, uint16_t) { return static_cast<uint16_t>(symbol << 8 | upper); }
};
struct Fp32 {
  using Number = uint32_t;
  static constexpr bool kHasUpper = true, kHasLower = true;
  static uint8_t Symbol(uint32_t value) { return static_cast<uint8_t>(value >> 23); }
  static uint8_t Upper(uint32_t value) { return static_cast<uint8_t>((value >> 24 & 0x80) | (value >> 16 & 0x7f)); }
  static uint16_t Lower(uint32_t value) { return static_cast<uint16_t>(value); }
  static uint32_t Join(uint8_t symbol, uint8_t upper, uint16_t lower) {
    return uint32_t{upper & 0x80u} << 24 | uint32_t{symbol} << 23 | (upper & 0x7fu) << 16 | lower;
  }
};

// The numbers lie anywhere: loads and stores by way of memcpy, which the compiler turns into vectors all the same.
template <typename T>
T Load(const std::byte* from, size_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof(T), sizeof(T));
  return value;
}
template <typename T>
void Store(T value, std::byte* to, size_t i) {
  std::memcpy(to + i * sizeof(T), &value, sizeof(T));
}

template <typename Format>
void SplitRawOf(const std::byte* values, std::span<const uint8_t> symbols, bool leave_out_zeros,
                std::span<std::byte> raw) {
  using Number = typename Format::Number;
  if constexpr (Format::kHasUpper) {
    const size_t kept = raw.size() / (sizeof(Number) - 1);
    std::byte* upper = raw.data();
    std::byte* lower = raw.data() + kept;
    if (!leave_out_zeros) {
      for (size_t i = 0; i < kept; ++i) Store(Format::Upper(Load<Number>(values, i)), upper, i);
      if constexpr (Format::kHasLower) {
        for (size_t i = 0; i < kept; ++i) Store(Format::Lower(Load<Number>(values, i)), lower, i);
      }
      return;
    }
    size_t next = 0;
    for (size_t i = 0; i < symbols.size() && next < kept; ++i) {
      const Number value = Load<Number>(values, i);
      Store(Format::Upper(value), upper, next);
      if constexpr (Format::kHasLower) Store(Format::Lower(value), lower, next);
      next += symbols[i] != 0 ? 1 : 0;
    }
  }
}

template <typename Format>
void JoinNumbersOf(std::span<const uint8_t> symbols, std::span<const std::byte> raw, bool left_out_zeros,
                   std::byte* values) {
  using Number = typename Format::Number;
  if constexpr (!Format::kHasUpper) {
    std::memcpy(values, symbols.data(), symbols.size());
  } else {
    const size_t kept = raw.size() / (sizeof(Number) - 1);
    const std::byte* upper = raw.data();
    const std::byte* lower = raw.data() + kept;
    const auto join = [&](uint8_t symbol, size_t at) {
      uint16_t low = 0;
      if constexpr (Format::kHasLower) low = Load<uint16_t>(lower, at);
      return Format::Join(symbol, Load<uint8_t>(upper, at), low);
    };
    if (!left_out_zeros) {
      for (size_t i = 0; i < symbols.size(); ++i) Store<Number>(join(symbols[i], i), values, i);
      return;
    }
    size_t next = 0;
    for (size_t i = 0; i < symbols.size(); ++i) {
      Store<Number>(symbols[i] == 0 ? Number{0} : join(symbols[i], next), values, i);
      next += symbols[i] != 0 ? 1 : 0;
    }
  }
}

// Calls visit(Format{}).
template <typename Visit>
auto WithFormat(NumberFormat format, Visit visit) {
  switch (format) {
    case NumberFormat::kBf16:
      return visit(Bf16{});
    case NumberFormat::kFp16:
      return visit(Fp16{});
    case NumberFormat::kFp32:
      return visit(Fp32{});
    case NumberFormat::kBytes:
      break;
  }
  return visit(Bytes{});
}

}  // namespace

size_t BytesOf(NumberFormat format) {
  return WithFormat(format, [](auto f) { return sizeof(typename decltype(f)::Number); });
}

void SplitSymbols(NumberFormat format, std::span<const std::byte> values, std::span<uint8_t> symbols) {
  WithFormat(format, [&](auto f) {
    using Format = decltype(f);
    const std::byte* from = values.data();
    uint8_t* to = symbols.data();
    const size_t count = symbols.size();
    for (size_t i = 0; i < count; ++i) to[i] = Format::Symbol(Load<typename Format::Number>(from, i));
  });
}

bool ZeroSymbolsAreZeros(NumberFormat format, std::span<const std::byte> values, std::span<const uint8_t> symbols) {
  return WithFormat(format, [&](auto f) {
    using Number = typename decltype(f)::Number;
    Number others = 0;
    for (size_t i = 0; i < symbols.size(); ++i) {
      const auto mask = static_cast<Number>(symbols[i] == 0 ? ~Number{0} : Number{0});
      others = static_cast<Number>(others | (Load<Number>(values.data(), i) & mask));
    }
    return others == 0;
  });
}

void SplitRaw(NumberFormat format, std::span<const std::byte> values, std::span<const uint8_t> symbols,
              bool leave_out_zeros, std::span<std::byte> raw) {
  WithFormat(format, [&](auto f) { SplitRawOf<decltype(f)>(values.data(), symbols, leave_out_zeros, raw); });
}

void JoinNumbers(NumberFormat format, std::span<const uint8_t> symbols, std::span<const std::byte> raw,
                 bool left_out_zeros, std::span<std::byte> values) {
  WithFormat(format, [&](auto f) { JoinNumbersOf<decltype(f)>(symbols, raw, left_out_zeros, values.data()); });
}

}  // namespace laconic::internal
