#include "compressors/entropy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "compressors/checks.h"
#include "compressors/entropy_coding.h"
#include "compressors/number_planes.h"
#include "compressors/varint.h"
#include "compressors/zstd_coding.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr std::array<std::string_view, 3> kCoders = {"auto", "exponent", "zstd"};

// The first byte of a body.
constexpr uint8_t kStored = 0;   // the inner body as it is
constexpr uint8_t kNumbers = 1;  // what precedes and follows its numbers, then these
constexpr uint8_t kZstd = 2;     // a frame of zstd

// The numbers' section of a body, cut to what there is.
struct Cut {
  size_t begin = 0, bytes = 0, count = 0;
  NumberFormat format{};
};

Cut CutNumbers(const Compressor& codec, size_t body_bytes, const Shape& shape) {
  const NumberSection section = codec.Numbers(body_bytes, shape);
  const size_t width = BytesOf(section.format);
  const size_t begin = std::min(section.offset, body_bytes);
  const size_t count = std::min(section.count, (body_bytes - begin) / width);
  return {.begin = begin, .bytes = count * width, .count = count, .format = section.format};
}

}  // namespace

std::string Entropy::ToString() const {
  return fmt::format("entropy({}, coder={})", inner_->ToString(), kCoders[static_cast<size_t>(coder_)]);
}

Traits Entropy::traits(const Shape& shape) const {
  Traits traits = inner_->traits(shape);
  traits.fixed_size = MaxBodyBytes(shape) == 0;
  return traits;
}

size_t Entropy::MaxBodyBytes(const Shape& shape) const {
  return shape.elements() == 0 ? 0 : inner_->MaxBodyBytes(shape) + 1;
}

absl::StatusOr<size_t> Entropy::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                       std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("entropy", x.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("entropy", body.size(), MaxBodyBytes(shape)));
  if (x.empty()) return 0;
  const ScratchLease inner(inner_->MaxBodyBytes(shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, inner_->Encode(x, shape, key, inner.bytes()));
  return Shorten(inner.bytes().first(bytes), shape, body);
}

absl::StatusOr<size_t> Entropy::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                               std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("entropy", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("entropy", residual.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("entropy", body.size(), MaxBodyBytes(shape)));
  if (residual.empty()) return 0;
  const ScratchLease inner(inner_->MaxBodyBytes(shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, inner_->EncodeResidual(message, shape, key, residual, inner.bytes()));
  return Shorten(inner.bytes().first(bytes), shape, body);
}

size_t Entropy::Shorten(std::span<const std::byte> inner, const Shape& shape, std::span<std::byte> body) const {
  const std::span<std::byte> room = body.first(inner.size() + 1);
  const std::optional<size_t> bytes =
      coder_ == Coder::kZstd ? ShortenByZstd(inner, shape, room) : ShortenNumbers(inner, shape, room);
  if (bytes) return *bytes;
  room[0] = std::byte{kStored};
  if (!inner.empty()) std::memcpy(&room[1], inner.data(), inner.size());
  return room.size();
}

std::optional<size_t> Entropy::ShortenNumbers(std::span<const std::byte> inner, const Shape& shape,
                                              std::span<std::byte> body) const {
  const Cut cut = CutNumbers(*inner_, inner.size(), shape);
  const ScratchLease coded(MaxEncodedBytes(cut.format, cut.count));
  const size_t coded_bytes = EncodeNumbers(cut.format, inner.subspan(cut.begin, cut.bytes), coded.bytes());
  const size_t length_bytes = HasLength(shape) ? VarintBytes(inner.size()) : 0;
  if (1 + length_bytes + (inner.size() - cut.bytes) + coded_bytes >= body.size()) return std::nullopt;
  ByteWriter out(body);
  out.Put(kNumbers);
  if (length_bytes > 0) PutVarint(out, inner.size());
  out.PutBytes(inner.first(cut.begin));
  out.PutBytes(inner.subspan(cut.begin + cut.bytes));
  out.PutBytes(coded.bytes().first(coded_bytes));
  return out.written();
}

std::optional<size_t> Entropy::ShortenByZstd(std::span<const std::byte> inner, const Shape& shape,
                                             std::span<std::byte> body) const {
  const size_t head_bytes = 1 + (HasLength(shape) ? VarintBytes(inner.size()) : 0);
  if (head_bytes >= body.size()) return std::nullopt;
  const std::optional<size_t> bytes = ZstdEncode(inner, body.subspan(head_bytes));
  if (!bytes || head_bytes + *bytes == body.size()) return std::nullopt;
  ByteWriter out(body);
  out.Put(kZstd);
  if (HasLength(shape)) PutVarint(out, inner.size());
  return head_bytes + *bytes;
}

absl::Status Entropy::Restore(std::span<const std::byte> body, const Shape& shape, uint8_t form,
                              std::span<std::byte> inner) const {
  if (form == kZstd) return ZstdDecode(body, inner);
  const Cut cut = CutNumbers(*inner_, inner.size(), shape);
  ByteReader in(body);
  const std::span<const std::byte> before = in.Take(cut.begin);
  const std::span<const std::byte> after = in.Take(inner.size() - cut.begin - cut.bytes);
  if (!in.ok()) return absl::DataLossError(fmt::format("{} bytes are too few", body.size()));
  std::copy(before.begin(), before.end(), inner.begin());
  std::copy(after.begin(), after.end(), inner.end() - static_cast<ptrdiff_t>(after.size()));
  return DecodeNumbers(cut.format, in.Take(in.remaining()), inner.subspan(cut.begin, cut.bytes));
}

absl::Status Entropy::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("entropy", acc.size(), shape));
  if (acc.empty()) return CheckBodyBytes("entropy", body.size(), 0);
  ByteReader in(body);
  const auto form = in.Get<uint8_t>();
  if (!in.ok()) return absl::DataLossError("entropy body: it is empty");
  if (form == kStored) return inner_->DecodeAdd(body.subspan(1), shape, scale, acc);
  if (form != kNumbers && form != kZstd) {
    return absl::DataLossError(fmt::format("entropy body: form {}, expected 0, 1 or 2", form));
  }
  const size_t most = inner_->MaxBodyBytes(shape);
  uint64_t inner_bytes = most;
  if (HasLength(shape)) {
    const absl::StatusOr<uint64_t> length = GetVarint(in);
    if (!length.ok()) return Annotate(length.status(), "entropy body");
    if (*length > most) {
      return absl::DataLossError(fmt::format("entropy body: {} bytes inside, expected {} at most", *length, most));
    }
    inner_bytes = *length;
  }
  const ScratchLease lease(inner_bytes);
  const std::span<std::byte> inner = lease.bytes();
  const absl::Status status = Restore(in.Take(in.remaining()), shape, form, inner);
  if (!status.ok()) return Annotate(status, "entropy body");
  return inner_->DecodeAdd(inner, shape, scale, acc);
}

}  // namespace laconic::internal

namespace laconic {
namespace {

const std::vector<ParameterInfo>& Parameters() {
  static const auto* const parameters = new std::vector<ParameterInfo>{
      {"codec", "a codec", "", "whose body is coded; its key may be left out"},
      {"coder", "auto|exponent|zstd", "auto",
       "auto: exponents of floats, else bytes; exponent: only where there are floats; zstd: zstd, level 1"},
  };
  return *parameters;
}

absl::StatusOr<std::shared_ptr<const Compressor>> Wrap(std::shared_ptr<const Compressor> codec, std::string_view coder,
                                                       size_t column) {
  using internal::Entropy;
  const auto which = static_cast<Entropy::Coder>(std::find(internal::kCoders.begin(), internal::kCoders.end(), coder) -
                                                 internal::kCoders.begin());
  const Shape any({64, 64});
  if (which == Entropy::Coder::kExponent &&
      codec->Numbers(codec->MaxBodyBytes(any), any).format == NumberFormat::kBytes) {
    return SpecError(column,
                     fmt::format("coder=exponent needs floats on the wire and {} sends none: take coder=auto or "
                                 "coder=zstd",
                                 codec->ToString()));
  }
  return std::make_shared<const Entropy>(std::move(codec), which);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Compressor>> WithEntropy(std::shared_ptr<const Compressor> codec,
                                                              const SpecCall& call) {
  const std::span<const ParameterInfo> coder_only = std::span(Parameters()).subspan(1);
  SpecArguments arguments(call, coder_only);
  const std::string coder = arguments.Word("coder", internal::kCoders[0], internal::kCoders);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return Wrap(std::move(codec), coder, call.column);
}

CodecInfo EntropyInfo() {
  return {
      .name = "entropy",
      .id = CodecId::kEntropy,
      .summary = "another codec's body without loss in fewer bytes: exponents of floats, bytes of codes, or zstd",
      .source = "DFloat11: Zhang et al. 2025, arXiv:2504.11651; ANS: Duda 2013, arXiv:1311.2540",
      .parameters = Parameters(),
      .create = [](const SpecCall& call,
                   const CodecRegistry& registry) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        SpecArguments arguments(call, Parameters());
        std::vector<const SpecCall*> inner_calls = arguments.Positional();
        if (const SpecCall* by_key = arguments.Call("codec"); by_key != nullptr) inner_calls.push_back(by_key);
        const std::string coder = arguments.Word("coder", internal::kCoders[0], internal::kCoders);
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        if (inner_calls.size() != 1) {
          return SpecError(call.column, fmt::format("entropy takes one codec, such as entropy(cast(to=bf16)), not {}",
                                                    inner_calls.size()));
        }
        LACONIC_ASSIGN_OR_RETURN(std::shared_ptr<const Compressor> inner, registry.Create(*inner_calls.front()));
        return Wrap(std::move(inner), coder, inner_calls.front()->column);
      },
      .examples = {"entropy(cast(to=bf16))", "entropy(identity, coder=exponent)", "entropy(identity, coder=zstd)",
                   "entropy(cast(to=fp16, scale=none))", "entropy(topk(ratio=0.1))",
                   "entropy(topk(ratio=0.1, values=fp16), coder=zstd)", "entropy(lowrank(rank=2))",
                   "entropy(quantize(bits=2))", "entropy(natural)", "entropy(sign)", "entropy(randk(ratio=0.2))",
                   "entropy(composite(topk(ratio=0.05), entropy(quantize(bits=4))))"},
  };
}

}  // namespace laconic
