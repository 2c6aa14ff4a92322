#include "compressors/entropy_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "compressors/ans.h"
#include "compressors/number_planes.h"
#include "compressors/varint.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kBlock = 65536;    // numbers
constexpr size_t kPieceBlocks = 4;  // that make a piece of work for a thread
// Of a block, whatever its numbers: its length and its form.
constexpr size_t kBlockOverhead = VarintBytes(kBlock * sizeof(float) + 1) + 1;
// What precedes planes and streams: form, numbers kept, table, length of a stream.
constexpr size_t kMaxHeadBytes = 1 + 3 + (2 + 2 * 256) + 3;

// A block's form, a byte.
constexpr uint8_t kStored = 0;  // else the log of its table
constexpr uint8_t kZerosLeftOut = 0x80;

size_t Blocks(size_t count) { return (count + kBlock - 1) / kBlock; }

// A thread's memory for one block.
struct EncoderMemory {
  AnsEncoder encoder;
  std::array<uint8_t, kBlock> symbols;
  std::array<std::byte, kMaxHeadBytes> head;
  std::array<std::array<std::byte, AnsEncoder::MaxStreamBytes(kBlock)>, 2> streams;
};
struct DecoderMemory {
  AnsDecoder decoder;
  std::array<uint8_t, kBlock> symbols;
};

void PutTable(const SymbolTable& table, ByteWriter& out) {
  const auto occurs = [](uint16_t places) { return places > 0; };
  const auto first = std::find_if(table.places.begin(), table.places.end(), occurs);
  const auto last = std::find_if(table.places.rbegin(), table.places.rend(), occurs).base() - 1;
  out.Put(static_cast<uint8_t>(first - table.places.begin()));
  out.Put(static_cast<uint8_t>(last - table.places.begin()));
  for (auto places = first; places <= last; ++places) PutVarint(out, *places);
}

absl::Status GetTable(ByteReader& in, SymbolTable& table) {
  if (table.log < kMinTableLog || table.log > kMaxTableLog) {
    return absl::DataLossError(
        fmt::format("a table of 2^{} places, expected 2^{} to 2^{}", table.log, kMinTableLog, kMaxTableLog));
  }
  const size_t first = in.Get<uint8_t>(), last = in.Get<uint8_t>();
  const uint64_t size = uint64_t{1} << table.log;
  uint64_t shared = 0;
  for (size_t s = first; s <= last; ++s) {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t places, GetVarint(in));
    if (places > size - shared) break;
    table.places[s] = static_cast<uint16_t>(places);
    shared += places;
  }
  if (shared != size) return absl::DataLossError(fmt::format("a table's places do not add up to {}", size));
  return absl::OkStatus();
}

// Writes one block at the front of `out`, without its length; gives the bytes written, 1 + values.size() at most.
size_t EncodeBlock(NumberFormat format, std::span<const std::byte> values, EncoderMemory& memory,
                   std::span<std::byte> out) {
  const size_t count = values.size() / BytesOf(format);
  const std::span<uint8_t> symbols = std::span(memory.symbols).first(count);
  SplitSymbols(format, values, symbols);
  Histogram histogram;
  CountSymbols(symbols, histogram);
  const SymbolTable table = SymbolTable::For(histogram, count);
  const bool leave_out_zeros =
      BytesOf(format) > 1 && histogram[0] >= count / 16 + 1 && ZeroSymbolsAreZeros(format, values, symbols);
  const size_t kept = leave_out_zeros ? count - histogram[0] : count;
  const size_t raw_bytes = RawBytes(format, kept);

  // Is it worth trying?
  if (raw_bytes + table.EstimateBits(histogram) / 8 < values.size()) {
    memory.encoder.SetTable(table);
    const std::array<size_t, 2> stream_bytes = memory.encoder.Encode(symbols, memory.streams[0], memory.streams[1]);
    ByteWriter head(memory.head);
    head.Put(static_cast<uint8_t>(table.log | (leave_out_zeros ? kZerosLeftOut : 0)));
    if (leave_out_zeros) PutVarint(head, kept);
    PutTable(table, head);
    PutVarint(head, stream_bytes[0]);
    if (head.written() + raw_bytes + stream_bytes[0] + stream_bytes[1] < 1 + values.size()) {
      ByteWriter block(out);
      block.PutBytes(std::span(memory.head).first(head.written()));
      SplitRaw(format, values, symbols, leave_out_zeros, block.Claim(raw_bytes));
      for (size_t s = 0; s < 2; ++s) block.PutBytes(std::span(memory.streams[s]).first(stream_bytes[s]));
      return block.written();
    }
  }
  out[0] = std::byte{kStored};
  std::memcpy(&out[1], values.data(), values.size());
  return 1 + values.size();
}

absl::Status DecodeBlock(NumberFormat format, std::span<const std::byte> block, DecoderMemory& memory,
                         std::span<std::byte> values) {
  ByteReader in(block);
  const auto form = in.Get<uint8_t>();
  if (form == kStored) {
    if (in.remaining() != values.size()) {
      return absl::DataLossError(fmt::format("{} bytes stored, expected {}", in.remaining(), values.size()));
    }
    std::memcpy(values.data(), in.Take(values.size()).data(), values.size());
    return absl::OkStatus();
  }
  const size_t count = values.size() / BytesOf(format);
  const bool zeros_left_out = (form & kZerosLeftOut) != 0;
  uint64_t kept = count;
  if (zeros_left_out) {
    LACONIC_ASSIGN_OR_RETURN(kept, GetVarint(in));
    if (kept > count) return absl::DataLossError(fmt::format("{} numbers that are not zero, of {}", kept, count));
  }
  SymbolTable table{.log = form & ~kZerosLeftOut};
  LACONIC_RETURN_IF_ERROR(GetTable(in, table));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t stream_bytes, GetVarint(in));
  const std::span<const std::byte> raw = in.Take(RawBytes(format, kept));
  const std::span<const std::byte> stream = in.Take(stream_bytes);
  if (!in.ok()) return absl::DataLossError("it is cut off");

  const std::span<uint8_t> symbols = std::span(memory.symbols).first(count);
  memory.decoder.SetTable(table);
  LACONIC_RETURN_IF_ERROR(memory.decoder.Decode(stream, in.Take(in.remaining()), symbols));
  if (zeros_left_out && static_cast<uint64_t>(std::count(symbols.begin(), symbols.end(), 0)) != count - kept) {
    return absl::DataLossError(fmt::format("its zeros are not {} of {}", count - kept, count));
  }
  JoinNumbers(format, symbols, raw, zeros_left_out, values);
  return absl::OkStatus();
}

}  // namespace

size_t MaxEncodedBytes(NumberFormat format, size_t count) {
  return count * BytesOf(format) + Blocks(count) * kBlockOverhead;
}

size_t EncodeNumbers(NumberFormat format, std::span<const std::byte> values, std::span<std::byte> out) {
  const size_t block_bytes = kBlock * BytesOf(format);
  const size_t blocks = Blocks(values.size() / BytesOf(format));
  // A piece writes where it lies if all before it are stored; then the gaps are closed.
  const LeasedScratch<size_t> piece_lease((blocks + kPieceBlocks - 1) / kPieceBlocks);
  const std::span<size_t> piece_bytes = piece_lease.span();
  std::fill(piece_bytes.begin(), piece_bytes.end(), 0);
  const auto room_before = [&](size_t block) { return block * (block_bytes + kBlockOverhead); };
  ParallelFor(blocks, kPieceBlocks, [&](size_t begin, size_t end) {
    const LeasedScratch<EncoderMemory> memory(1);
    size_t at = room_before(begin);
    for (size_t b = begin; b < end; ++b) {
      const std::span<const std::byte> block =
          values.subspan(b * block_bytes, std::min(block_bytes, values.size() - b * block_bytes));
      // The length goes before the block once it is known.
      const std::span<std::byte> room = out.subspan(at, kBlockOverhead + block.size());
      const size_t length_room = kBlockOverhead - 1;
      const size_t bytes = EncodeBlock(format, block, memory.span()[0], room.subspan(length_room));
      const size_t length_bytes = VarintBytes(bytes);
      if (length_bytes < length_room) std::memmove(&room[length_bytes], &room[length_room], bytes);
      ByteWriter length(room.first(length_bytes));
      PutVarint(length, bytes);
      at += length_bytes + bytes;
    }
    piece_bytes[begin / kPieceBlocks] = at - room_before(begin);
  });
  size_t written = 0;
  for (size_t piece = 0; piece < piece_bytes.size(); ++piece) {
    const size_t from = room_before(piece * kPieceBlocks);
    if (written != from && piece_bytes[piece] > 0) std::memmove(&out[written], &out[from], piece_bytes[piece]);
    written += piece_bytes[piece];
  }
  return written;
}

absl::Status DecodeNumbers(NumberFormat format, std::span<const std::byte> coded, std::span<std::byte> values) {
  const size_t block_bytes = kBlock * BytesOf(format);
  const size_t blocks = Blocks(values.size() / BytesOf(format));
  const LeasedScratch<std::span<const std::byte>> lease(blocks);
  ByteReader in(coded);
  for (size_t b = 0; b < blocks; ++b) {
    const absl::StatusOr<uint64_t> length = GetVarint(in);
    if (!length.ok()) return Annotate(length.status(), fmt::format("block {}", b));
    lease.span()[b] = in.Take(*length);
  }
  LACONIC_RETURN_IF_ERROR(in.Finish("coded numbers"));

  FirstFailure failure;
  ParallelFor(blocks, kPieceBlocks, [&](size_t begin, size_t end) {
    const LeasedScratch<DecoderMemory> memory(1);
    for (size_t b = begin; b < end; ++b) {
      const size_t first = b * block_bytes;
      const absl::Status status = DecodeBlock(format, lease.span()[b], memory.span()[0],
                                              values.subspan(first, std::min(block_bytes, values.size() - first)));
      if (!status.ok()) return failure.Set(begin, Annotate(status, fmt::format("block {}", b)));
    }
  });
  return failure.status();
}

}  // namespace laconic::internal
