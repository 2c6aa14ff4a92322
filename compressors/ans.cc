#include "compressors/ans.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace laconic::internal {
namespace {

constexpr size_t kStates = 8;

uint64_t Load64(const std::byte* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// Calls visit(symbol, place) for all places of the table, each symbol's in the order in which its places are numbered:
// scattered by a stride, so that a symbol's places lie evenly and its states lose little.
template <typename Visit>
void ForEachPlace(const SymbolTable& table, Visit visit) {
  const size_t size = size_t{1} << table.log;
  const size_t stride = size / 8 * 5 + 1;  // odd: visits every place once
  std::array<uint8_t, kMaxTable> symbol_at;
  size_t place = 0;
  for (size_t s = 0; s < 256; ++s) {
    for (size_t j = 0; j < table.places[s]; ++j) {
      symbol_at[place] = static_cast<uint8_t>(s);
      place = (place + stride) & (size - 1);
    }
  }
  for (place = 0; place < size; ++place) visit(symbol_at[place], place);
}

// A stream's bits as they are written, at most 57 between two calls of Store.
class BitWriter {
 public:
  explicit BitWriter(std::byte* out) : begin_(out), out_(out) {}
  void Put(uint64_t value, uint32_t bits) {
    pending_ |= (value & ((uint64_t{1} << bits) - 1)) << count_;
    count_ += bits;
  }
  // Writes past the whole bytes, up to 8 in all.
  void Store() {
    std::memcpy(out_, &pending_, sizeof(pending_));
    out_ += count_ / 8;
    pending_ >>= count_ & ~7u;
    count_ &= 7;
  }
  // Ends the stream with a one; its bytes.
  size_t Finish() {
    Put(1, 1);
    Store();
    return static_cast<size_t>(out_ - begin_) + (count_ > 0 ? 1 : 0);
  }

 private:
  std::byte* begin_;
  std::byte* out_;
  uint64_t pending_ = 0;
  uint32_t count_ = 0;
};

// A stream's bits from the last down.
class BitReader {
 public:
  // Finds the one that ends the stream. DataLoss where there is none.
  absl::Status Open(std::span<const std::byte> stream) {
    if (stream.empty() || stream.back() == std::byte{0}) return absl::DataLossError("a bit stream has no end");
    begin_ = stream.data();
    left_ = 8 * static_cast<int64_t>(stream.size()) - std::countl_zero(static_cast<uint8_t>(stream.back())) - 1;
    return absl::OkStatus();
  }
  // Bits not read yet; negative after more were read than there are.
  int64_t left() const { return left_; }

  // The next bits at the top of a word, 57 at least.   left() >= 64.
  uint64_t Peek() const {
    const int64_t bytes = (left_ + 7) / 8;
    return Load64(begin_ + bytes - 8) << (8 * bytes - left_);
  }
  void Skip(int64_t bits) { left_ -= bits; }

  // The next bits, zeros where there are none.   bits <= 16.
  uint32_t Read(int bits) {
    uint32_t value = 0;
    for (int64_t at = left_ - bits; at < left_;) {  // byte by byte: this is for the ends of streams
      const int64_t byte = at >> 3;
      const int64_t count = std::min(left_ - at, 8 - (at & 7));
      const uint32_t some = at < 0 ? 0 : (static_cast<uint32_t>(begin_[byte]) >> (at & 7)) & ((1u << count) - 1);
      value |= some << (at - (left_ - bits));
      at += count;
    }
    left_ -= bits;
    return value;
  }

 private:
  const std::byte* begin_ = nullptr;
  int64_t left_ = 0;
};

}  // namespace

void CountSymbols(std::span<const uint8_t> symbols, Histogram& histogram) {
  // Four counters of each symbol: equal neighbours would wait for each other's additions.
  std::array<Histogram, 4> counts{};
  size_t i = 0;
  for (; i + 8 <= symbols.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, &symbols[i], sizeof(word));
    for (size_t j = 0; j < 8; ++j) ++counts[j % 4][(word >> (8 * j)) & 0xff];
  }
  for (; i < symbols.size(); ++i) ++counts[0][symbols[i]];
  for (size_t s = 0; s < 256; ++s) histogram[s] = counts[0][s] + counts[1][s] + counts[2][s] + counts[3][s];
}

SymbolTable SymbolTable::For(const Histogram& histogram, size_t total) {
  const auto distinct = static_cast<size_t>(256 - std::count(histogram.begin(), histogram.end(), 0u));
  // A table much finer than the counts says nothing more, and costs more to send and to build.
  SymbolTable table{.log = std::clamp(std::max<int>(std::bit_width(total) - 2, std::bit_width(distinct) + 1),
                                      kMinTableLog, kMaxTableLog)};
  const uint64_t size = uint64_t{1} << table.log;
  uint64_t shared = 0;
  for (size_t s = 0; s < 256; ++s) {
    if (histogram[s] == 0) continue;
    const uint64_t nearest = (histogram[s] * size + total / 2) / total;
    table.places[s] = static_cast<uint16_t>(std::max<uint64_t>(nearest, 1));
    shared += table.places[s];
  }
  // A place more or less goes where it matters most or least: by symbols per place, compared as products.
  for (; shared != size; shared < size ? ++shared : --shared) {
    size_t best = 256;
    for (size_t s = 0; s < 256; ++s) {
      if (table.places[s] == 0 || (shared > size && table.places[s] == 1)) continue;
      if (best == 256) {
        best = s;
        continue;
      }
      const uint64_t of_s = uint64_t{histogram[s]} * table.places[best];
      const uint64_t of_best = uint64_t{histogram[best]} * table.places[s];
      if (shared < size ? of_s > of_best : of_s < of_best) best = s;
    }
    table.places[best] = static_cast<uint16_t>(table.places[best] + (shared < size ? 1 : -1));
  }
  return table;
}

uint64_t SymbolTable::EstimateBits(const Histogram& histogram) const {
  uint64_t sixteenths = 0;
  for (size_t s = 0; s < 256; ++s) {
    if (histogram[s] == 0) continue;
    // log2 in sixteenths, of the binade by its chord: between 0 and 0.09 bits below.
    const uint64_t binade = std::bit_width(static_cast<unsigned>(places[s])) - 1;
    const uint64_t log2 = 16 * binade + ((uint64_t{places[s]} << 4 >> binade) - 16);
    sixteenths += histogram[s] * (16 * static_cast<uint64_t>(log) - log2);
  }
  return sixteenths / 16;
}

void AnsEncoder::SetTable(const SymbolTable& table) {
  log_ = table.log;
  const auto size = static_cast<uint32_t>(1u << log_);
  std::array<uint32_t, 256> first;
  uint32_t start = 0;
  for (size_t s = 0; s < 256; ++s) {
    const uint32_t places = table.places[s];
    first[s] = start;
    if (places == 0) continue;
    // From x in [T, 2T) down to [n, 2n): `most` bits, or one fewer while x < n 2^most.
    const auto most = static_cast<uint32_t>(log_ + 1 - std::bit_width(places));
    steps_[s] = {.bits = (most << 16) - (places << most),
                 .base = static_cast<int32_t>(start) - static_cast<int32_t>(places)};
    start += places;
  }
  ForEachPlace(table,
               [&](uint8_t symbol, size_t place) { next_[first[symbol]++] = static_cast<uint16_t>(size + place); });
}

std::array<size_t, 2> AnsEncoder::Encode(std::span<const uint8_t> symbols, std::span<std::byte> s0,
                                         std::span<std::byte> s1) const {
  BitWriter low(s0.data()), high(s1.data());
  std::array<uint32_t, kStates> state;
  state.fill(1u << log_);
  const auto put = [&](BitWriter& out, uint32_t& x, uint8_t symbol) {
    const Step step = steps_[symbol];
    const uint32_t bits = (x + step.bits) >> 16;
    out.Put(x, bits);
    x = next_[static_cast<size_t>(static_cast<int32_t>(x >> bits) + step.base)];
  };
  size_t i = symbols.size();
  for (; i % kStates != 0; --i) {
    BitWriter& out = (i - 1) % kStates < 4 ? low : high;
    put(out, state[(i - 1) % kStates], symbols[i - 1]);
    out.Store();
  }
  auto [x0, x1, x2, x3, x4, x5, x6, x7] = state;  // in registers
  BitWriter low_bits = low, high_bits = high;
  for (const uint8_t* eight = symbols.data() + i; eight != symbols.data();) {
    eight -= kStates;
    put(high_bits, x7, eight[7]);
    put(low_bits, x3, eight[3]);
    put(high_bits, x6, eight[6]);
    put(low_bits, x2, eight[2]);
    put(high_bits, x5, eight[5]);
    put(low_bits, x1, eight[1]);
    put(high_bits, x4, eight[4]);
    put(low_bits, x0, eight[0]);
    high_bits.Store();
    low_bits.Store();
  }
  const auto log = static_cast<uint32_t>(log_);
  for (const uint32_t x : {x3, x2, x1, x0}) low_bits.Put(x, log);
  low_bits.Store();
  for (const uint32_t x : {x7, x6, x5, x4}) high_bits.Put(x, log);
  high_bits.Store();
  return {low_bits.Finish(), high_bits.Finish()};
}

void AnsDecoder::SetTable(const SymbolTable& table) {
  log_ = table.log;
  std::array<uint16_t, 256> next = table.places;
  ForEachPlace(table, [&](uint8_t symbol, size_t place) {
    const uint32_t x = next[symbol]++;  // n_s + j
    const int bits = log_ + 1 - std::bit_width(x);
    places_[place] = {.base = static_cast<uint16_t>((x << bits) - (1u << log_)),
                      .bits = static_cast<uint8_t>(bits),
                      .symbol = symbol};
  });
}

absl::Status AnsDecoder::Decode(std::span<const std::byte> s0, std::span<const std::byte> s1,
                                std::span<uint8_t> symbols) const {
  BitReader low, high;
  for (auto [reader, stream] : {std::pair{&low, s0}, {&high, s1}}) {
    if (absl::Status status = reader->Open(stream); !status.ok()) return status;
  }
  std::array<uint32_t, kStates> state;
  for (size_t j = 0; j < kStates; ++j) state[j] = (j < 4 ? low : high).Read(log_);
  if (low.left() < 0 || high.left() < 0) return absl::DataLossError("a bit stream is cut off");

  size_t i = 0;
  {
    auto [x0, x1, x2, x3, x4, x5, x6, x7] = state;  // in registers
    uint8_t* out = symbols.data();
    // A round takes at most 4 table_log bits of each stream.
    while (i + kStates <= symbols.size() && low.left() >= 64 && high.left() >= 64) {
      uint64_t low_word = low.Peek(), high_word = high.Peek();
      int64_t low_bits = 0, high_bits = 0;
      const auto get = [&](uint64_t& word, int64_t& taken, uint32_t& x) {
        const Place place = places_[x];
        x = place.base + static_cast<uint32_t>(word >> 1 >> (63 - place.bits));
        word <<= place.bits;
        taken += place.bits;
        return place.symbol;
      };
      out[0] = get(low_word, low_bits, x0);
      out[4] = get(high_word, high_bits, x4);
      out[1] = get(low_word, low_bits, x1);
      out[5] = get(high_word, high_bits, x5);
      out[2] = get(low_word, low_bits, x2);
      out[6] = get(high_word, high_bits, x6);
      out[3] = get(low_word, low_bits, x3);
      out[7] = get(high_word, high_bits, x7);
      low.Skip(low_bits);
      high.Skip(high_bits);
      out += kStates;
      i += kStates;
    }
    state = {x0, x1, x2, x3, x4, x5, x6, x7};
  }
  for (; i < symbols.size(); ++i) {
    const size_t j = i % kStates;
    const Place place = places_[state[j]];
    symbols[i] = place.symbol;
    state[j] = place.base + (j < 4 ? low : high).Read(place.bits);
  }
  const bool at_start = std::all_of(state.begin(), state.end(), [](uint32_t x) { return x == 0; });
  if (low.left() != 0 || high.left() != 0 || !at_start) {
    return absl::DataLossError("a bit stream does not end where it began");
  }
  return absl::OkStatus();
}

}  // namespace laconic::internal
