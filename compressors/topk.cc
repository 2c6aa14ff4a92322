#include "compressors/topk.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "compressors/checks.h"
#include "compressors/index_coding.h"
#include "compressors/topk_select.h"
#include "compressors/varint.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {

std::string TopK::ToString() const {
  return fmt::format("topk({}, values={})", sparsity_.ToString(), internal::ToString(values_));
}

Traits TopK::traits(const Shape& shape) const {
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  Traits traits;
  traits.deterministic = true;
  traits.fixed_size = k == 0 || k == d;
  if (d == 0) {
    traits.delta = 1;
  } else if (k > 0) {
    const double ratio = static_cast<double>(k) / static_cast<double>(d);
    traits.delta = ratio * (1 - RelativeLoss(values_, k));  // the kept entries hold at least the share k/d of |x|^2
    traits.suggested_eta = ratio;
  }
  return traits;
}

size_t TopK::MaxBodyBytes(const Shape& shape) const {
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  return d == 0 ? 0 : VarintBytes(k) + MaxIndexBytes(k, d) + ValueBytes(values_, k);
}

absl::Status TopK::Supports(const Shape& shape) const { return CheckSparseElements("topk", shape); }

absl::StatusOr<size_t> TopK::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                    std::span<std::byte> body) const {
  return EncodeMessage(x, shape, {}, body);
}

absl::StatusOr<size_t> TopK::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                            std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("topk", residual.size(), shape));
  return EncodeMessage(message, shape, residual, body);
}

absl::StatusOr<size_t> TopK::EncodeMessage(const Message& message, const Shape& shape, std::span<float> residual,
                                           std::span<std::byte> body) const {
  const uint64_t d = shape.elements();
  LACONIC_RETURN_IF_ERROR(CheckFloats("topk", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckSparseElements("topk", shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("topk", body.size(), MaxBodyBytes(shape)));
  if (d == 0) return 0;
  LACONIC_ASSIGN_OR_RETURN(const Entries entries, SelectTopK(message, sparsity_.Kept(d), residual));

  const IndexPlan plan = PlanIndices(std::span<const uint32_t>(entries.positions), d);
  ByteWriter out(body);
  PutVarint(out, entries.positions.size());
  const std::span<std::byte> index_block = out.Claim(plan.bytes);
  const std::span<std::byte> value_block = out.Claim(ValueBytes(values_, entries.values.size()));
  LACONIC_RETURN_IF_ERROR(out.Finish("topk body"));
  EncodeIndices(std::span<const uint32_t>(entries.positions), d, plan, index_block);
  EncodeValues(values_, entries.values, value_block);
  if (!residual.empty() && values_ != ValueFormat::kFp32) {
    const std::span<float> decoded = Scratch<float>(ScratchUse::kBits, entries.values.size());
    LACONIC_RETURN_IF_ERROR(DecodeValues(values_, value_block, decoded));
    for (size_t j = 0; j < decoded.size(); ++j) entries.values[j] -= decoded[j];
    ScatterEntries(entries, residual);
  }
  return out.written();
}

absl::Status TopK::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                             std::span<float> acc) const {
  const uint64_t d = shape.elements();
  const uint64_t k = sparsity_.Kept(d);
  LACONIC_RETURN_IF_ERROR(CheckFloats("topk", acc.size(), shape));
  if (d == 0) return CheckBodyBytes("topk", body.size(), 0);
  return Annotate(DecodeAddEntries(body, k, d, scale, acc), "topk body");
}

absl::Status TopK::DecodeAddEntries(std::span<const std::byte> body, uint64_t k, uint64_t d, float scale,
                                    std::span<float> acc) const {
  ByteReader in(body);
  LACONIC_ASSIGN_OR_RETURN(const uint64_t count, GetVarint(in));
  if (count != k) return absl::DataLossError(fmt::format("{} entries, expected {}", count, k));
  const size_t value_bytes = ValueBytes(values_, k);
  if (in.remaining() < value_bytes) {
    return absl::DataLossError(fmt::format("{} bytes do not hold {} values", body.size(), k));
  }
  IndexDecoder indices(in.Take(in.remaining() - value_bytes), k, d);
  LACONIC_ASSIGN_OR_RETURN(const ValueReader values, ValueReader::Open(values_, k, in.Take(value_bytes)));

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
        LACONIC_ASSIGN_OR_RETURN(const internal::Sparsity sparsity, internal::Sparsity::Take(call, arguments));
        return std::make_shared<const internal::TopK>(sparsity, values);
      },
      .examples = {"topk(ratio=0.01)", "topk(k=3)", "topk(k=0)", "topk(ratio=1)", "topk(ratio=0.1, values=fp16)",
                   "topk(ratio=0.1, values=bf16)"},
  };
}

}  // namespace laconic
