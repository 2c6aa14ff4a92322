#include "compressors/topk.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "compressors/checks.h"
#include "compressors/chunk_select.h"
#include "compressors/index_coding.h"
#include "compressors/topk_select.h"
#include "compressors/varint.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {

namespace {

// x^(1/5) for 0 < x <= 1 by Newton's method from above, whose steps are the same on every machine.
double FifthRoot(double x) {
  for (double y = 1;;) {
    const double next = (4 * y + x / (y * y * y * y)) / 5;
    if (next >= y) return y;
    y = next;
  }
}

}  // namespace

TopK::TopK(const TopKOptions& options) : options_(options) {
  static_assert(kStages == 4);  // hence the fifth root
  if (options_.warmup > 0) {
    const double root = FifthRoot(options_.sparsity.ratio());
    double ratio = 1;
    for (uint64_t stage = 0; stage < kStages; ++stage) stages_.push_back(Sparsity::Ratio(ratio *= root));
  }
  stages_.push_back(options_.sparsity);
}

std::string TopK::ToString() const {
  std::string text =
      fmt::format("topk({}, values={}", options_.sparsity.ToString(), internal::ToString(options_.values));
  if (options_.chunk > 0) text += fmt::format(", chunk={}", options_.chunk);
  if (options_.warmup > 0) text += fmt::format(", warmup={}", options_.warmup);
  return text + ")";
}

uint64_t TopK::Kept(const Sparsity& sparsity, uint64_t elements) const {
  return options_.chunk == 0 ? sparsity.Kept(elements) : KeptOfChunks(sparsity, options_.chunk, elements);
}

const Sparsity& TopK::SparsityAt(uint64_t step) const {
  if (step >= options_.warmup) return stages_.back();
  return stages_[step / ((options_.warmup + kStages - 1) / kStages)];
}

Traits TopK::traits(const Shape& shape) const {
  const uint64_t d = shape.elements();
  const uint64_t k = Kept(options_.sparsity, d);
  Traits traits;
  traits.deterministic = options_.warmup == 0;
  traits.sparse = true;
  traits.fixed_size = options_.warmup == 0 && (k == 0 || k == d);
  if (d == 0) {
    traits.delta = 1;
  } else if (k > 0) {
    const auto share = [&](uint64_t elements) {
      return static_cast<double>(options_.sparsity.Kept(elements)) / static_cast<double>(elements);
    };
    const uint64_t chunk = options_.chunk == 0 ? d : std::min(options_.chunk, d);
    const double ratio = std::min(share(chunk), d % chunk == 0 ? 1.0 : share(d % chunk));
    // The kept entries hold at least their share of |x|^2, chunk by chunk.
    traits.delta = ratio * (1 - RelativeLoss(options_.values, k));
    traits.suggested_eta = ratio;
  }
  return traits;
}

size_t TopK::MaxBodyBytes(const Shape& shape) const {
  const uint64_t d = shape.elements();
  if (d == 0) return 0;
  size_t most = 0;
  for (const Sparsity& sparsity : stages_) {
    const uint64_t k = Kept(sparsity, d);
    most = std::max(most, VarintBytes(k) + MaxIndexBytes(k, d) + ValueBytes(options_.values, k));
  }
  return most;
}

absl::Status TopK::Supports(const Shape& shape) const { return CheckSparseElements("topk", shape); }

absl::StatusOr<size_t> TopK::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                    std::span<std::byte> body) const {
  return EncodeMessage(x, shape, key, {}, body);
}

absl::StatusOr<size_t> TopK::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("topk", residual.size(), shape));
  return EncodeMessage(message, shape, key, residual, body);
}

absl::StatusOr<size_t> TopK::EncodeMessage(const Message& message, const Shape& shape, const RngKey& key,
                                           std::span<float> residual, std::span<std::byte> body) const {
  const uint64_t d = shape.elements();
  LACONIC_RETURN_IF_ERROR(CheckFloats("topk", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckSparseElements("topk", shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("topk", body.size(), MaxBodyBytes(shape)));
  if (d == 0) return 0;
  const Sparsity& sparsity = SparsityAt(key.step);
  LACONIC_ASSIGN_OR_RETURN(const Entries entries,
                           options_.chunk == 0
                               ? SelectTopK(message, sparsity.Kept(d), residual)
                               : SelectFromChunks(message, sparsity, std::min(options_.chunk, d), residual));

  const IndexPlan plan = PlanIndices(std::span<const uint32_t>(entries.positions), d);
  ByteWriter out(body);
  PutVarint(out, entries.positions.size());
  const std::span<std::byte> index_block = out.Claim(plan.bytes);
  const std::span<std::byte> value_block = out.Claim(ValueBytes(options_.values, entries.values.size()));
  LACONIC_RETURN_IF_ERROR(out.Finish("topk body"));
  EncodeIndices(std::span<const uint32_t>(entries.positions), d, plan, index_block);
  EncodeValues(options_.values, entries.values, value_block);
  if (!residual.empty() && options_.values != ValueFormat::kFp32) {
    const std::span<float> decoded = Scratch<float>(ScratchUse::kBits, entries.values.size());
    LACONIC_RETURN_IF_ERROR(DecodeValues(options_.values, value_block, decoded));
    for (size_t j = 0; j < decoded.size(); ++j) entries.values[j] -= decoded[j];
    ScatterEntries(entries, residual);
  }
  return out.written();
}

absl::Status TopK::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                             std::span<float> acc) const {
  const uint64_t d = shape.elements();
  LACONIC_RETURN_IF_ERROR(CheckFloats("topk", acc.size(), shape));
  if (d == 0) return CheckBodyBytes("topk", body.size(), 0);
  return Annotate(DecodeAddEntries(body, d, scale, acc), "topk body");
}

absl::Status TopK::DecodeAddEntries(std::span<const std::byte> body, uint64_t d, float scale,
                                    std::span<float> acc) const {
  ByteReader in(body);
  LACONIC_ASSIGN_OR_RETURN(const uint64_t k, GetVarint(in));
  if (std::none_of(stages_.begin(), stages_.end(), [&](const Sparsity& s) { return Kept(s, d) == k; })) {
    return absl::DataLossError(fmt::format("{} entries, expected {}", k, Kept(options_.sparsity, d)));
  }
  const size_t value_bytes = ValueBytes(options_.values, k);
  if (in.remaining() < value_bytes) {
    return absl::DataLossError(fmt::format("{} bytes do not hold {} values", body.size(), k));
  }
  IndexDecoder indices(in.Take(in.remaining() - value_bytes), k, d);
  LACONIC_ASSIGN_OR_RETURN(const ValueReader values, ValueReader::Open(options_.values, k, in.Take(value_bytes)));

  // The cache lines of the next chunk are on their way while this one is added.
  std::array<float, IndexDecoder::kChunk> chunk;
  uint64_t done = 0;
  std::span<const uint64_t> some = indices.Next();
  while (!some.empty()) {
    const std::span<const uint64_t> next = indices.Next();
    LACONIC_RETURN_IF_ERROR(values.Read(done, std::span(chunk).first(some.size())));
    for (size_t j = 0; j < some.size(); ++j) {
      if (j < next.size()) __builtin_prefetch(&acc[next[j]], 1);
      acc[some[j]] += scale * chunk[j];
    }
    done += some.size();
    some = next;
  }
  return indices.Finish();
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo TopKInfo() {
  std::vector<ParameterInfo> parameters = internal::Sparsity::Parameters();
  parameters.push_back(internal::ValueFormatParameter());
  parameters.push_back(
      {"chunk", "0..4096", "0", "elements of a chunk; ratio or k is then of each chunk; 0: the tensor"});
  parameters.push_back(
      {"warmup", "0..", "0", "first steps, in four stages of which the ratio grows sparser from its fifth root on"});
  return {
      .name = "topk",
      .id = CodecId::kTopK,
      .summary = "the k entries largest in magnitude, exactly, as compactly coded positions and values",
      .source = "Stich, Cordonnier and Jaggi 2018, arXiv:1809.07599",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        SpecArguments arguments(call, parameters);
        const internal::ValueFormat values = internal::TakeValueFormat(arguments);
        const int64_t chunk = arguments.Integer("chunk", 0, 0, internal::kMaxChunk);
        const int64_t warmup = arguments.Integer("warmup", 0, 0, std::numeric_limits<int64_t>::max());
        LACONIC_ASSIGN_OR_RETURN(const internal::Sparsity sparsity, internal::Sparsity::Take(call, arguments));
        if (warmup > 0 && sparsity.ratio() == 0) {
          return SpecError(call.column, "topk with warmup takes ratio, whose powers its stages keep, not k");
        }
        return std::make_shared<const internal::TopK>(internal::TopKOptions{.sparsity = sparsity,
                                                                            .values = values,
                                                                            .chunk = static_cast<uint64_t>(chunk),
                                                                            .warmup = static_cast<uint64_t>(warmup)});
      },
      .examples = {"topk(ratio=0.01)", "topk(k=3)", "topk(k=0)", "topk(ratio=1)", "topk(ratio=0.1, values=fp16)",
                   "topk(ratio=0.1, values=bf16)", "topk(ratio=0.1, values=q2)", "topk(k=4, chunk=64)",
                   "topk(k=64, chunk=4096, values=q2)", "topk(ratio=0.01, chunk=300, values=fp16)",
                   "topk(ratio=0.1, warmup=100)", "topk(ratio=0.1, chunk=64, warmup=1)"},
  };
}

}  // namespace laconic
