#include "compressors/composite.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "compressors/message_runs.h"
#include "compressors/varint.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

// Stages draw independently even where they are the same codec. The first has the key it would have alone; the factors
// are odd, so that neither shards nor composites within composites meet the same stream.
RngKey StageKey(const RngKey& key, size_t stage) {
  if (stage == 0) return key;
  return key.WithStream(key.stream * 0x9e3779b1u + static_cast<uint32_t>(stage) * 0x85ebca77u);
}

// The share of its input's energy that a codec leaves, in the mean; infinity where it claims nothing.
double ShareLeft(const Traits& traits) {
  double share = std::numeric_limits<double>::infinity();
  if (traits.delta) share = 1 - *traits.delta;
  if (traits.omega) share = std::min(share, *traits.omega);
  return share;
}

// acc += scale * y, or, where there is a message, acc = that message + scale * y. Gives the first element of y that is
// not finite, y.size() where there is none.
size_t AddFinite(std::span<const float> y, float scale, std::span<float> acc, const Message* message) {
  std::atomic<size_t> first_bad = y.size();
  ParallelFor(y.size(), kGrain, [&](size_t begin, size_t end) {
    for (size_t first = begin; first < end; first += MessageRuns::kUsual) {
      const size_t count = std::min(MessageRuns::kUsual, end - first);
      const std::span<const float> run = y.subspan(first, count);
      if (const size_t bad = kernels::FirstNonFinite(run); bad < count) {
        size_t earliest = first_bad.load();
        while (first + bad < earliest && !first_bad.compare_exchange_weak(earliest, first + bad)) {
        }
        return;
      }
      const std::span<float> out = acc.subspan(first, count);
      if (message != nullptr) kernels::FormRun(*message, first, out);
      kernels::ScaleAdd(run, scale, out);
    }
  });
  return first_bad;
}

}  // namespace

std::string Composite::ToString() const {
  std::string text = "composite(";
  for (size_t j = 0; j < stages_.size(); ++j) text += (j > 0 ? ", " : "") + stages_[j]->ToString();
  return text + ")";
}

std::string Composite::NameOf(size_t stage) const {
  return fmt::format("composite stage {}, {}", stage + 1, stages_[stage]->ToString());
}

Traits Composite::traits(const Shape& shape) const {
  if (stages_.size() == 1) {
    Traits traits = stages_.front()->traits(shape);
    traits.linear = false;
    return traits;
  }
  constexpr double kRoundings = 0x1p-46;
  Traits whole{.deterministic = true, .fixed_size = true, .suggested_eta = 0};
  double left = 1;
  for (const auto& stage : stages_) {
    const Traits traits = stage->traits(shape);
    left *= ShareLeft(traits);
    whole.deterministic &= traits.deterministic;
    whole.fixed_size &= traits.fixed_size;
    whole.suggested_eta = std::max(whole.suggested_eta, traits.suggested_eta);
  }
  left = std::max(left, kRoundings);
  if (left < 1) whole.delta = 1 - left;
  if (const std::optional<double> omega = stages_.back()->traits(shape).omega; omega) {
    double before = 1;
    for (size_t j = 0; j + 1 < stages_.size(); ++j) before *= ShareLeft(stages_[j]->traits(shape));
    if (std::isfinite(before)) whole.omega = std::max(before * *omega, kRoundings);
  }
  return whole;
}

absl::Status Composite::Supports(const Shape& shape) const {
  for (size_t j = 0; j < stages_.size(); ++j) {
    if (const absl::Status status = stages_[j]->Supports(shape); !status.ok()) return Annotate(status, NameOf(j));
  }
  return absl::OkStatus();
}

bool Composite::HasLength(size_t stage, const Shape& shape) const {
  return stage + 1 < stages_.size() && !stages_[stage]->traits(shape).fixed_size;
}

size_t Composite::MaxBodyBytes(const Shape& shape) const {
  if (shape.elements() == 0) return 0;
  size_t bytes = 0;
  for (size_t j = 0; j < stages_.size(); ++j) {
    const size_t stage_bytes = stages_[j]->MaxBodyBytes(shape);
    bytes += stage_bytes + (HasLength(j, shape) ? VarintBytes(stage_bytes) : 0);
  }
  return bytes;
}

absl::StatusOr<size_t> Composite::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                         std::span<std::byte> body) const {
  if (stages_.size() == 1) return stages_.front()->Encode(x, shape, key, body);
  const LeasedScratch<float> residual(x.size());
  return EncodeResidual(x, shape, key, residual.span(), body);
}

absl::StatusOr<size_t> Composite::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                 std::span<float> residual, std::span<std::byte> body) const {
  if (stages_.size() == 1) return stages_.front()->EncodeResidual(message, shape, key, residual, body);
  LACONIC_RETURN_IF_ERROR(CheckFloats("composite", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("composite", residual.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckRoom("composite", body.size(), MaxBodyBytes(shape)));
  if (residual.empty()) return 0;

  const LeasedScratch<float> lease(residual.size());
  std::span<float> next = residual, other = lease.span();  // r_j goes to `next`, r_{j-1} lies in `other`
  size_t written = 0;
  for (size_t j = 0; j < stages_.size(); ++j) {
    const Compressor& stage = *stages_[j];
    const Message input = j == 0 ? message : Message(other);
    const size_t room_for_length = HasLength(j, shape) ? VarintBytes(stage.MaxBodyBytes(shape)) : 0;
    const std::span<std::byte> stage_body = body.subspan(written + room_for_length);
    const bool is_last = j + 1 == stages_.size();  // whose residual nobody needs
    const absl::StatusOr<size_t> stage_bytes =
        is_last ? stage.Encode(other, shape, StageKey(key, j), stage_body)
                : stage.EncodeResidual(input, shape, StageKey(key, j), next, stage_body);
    if (!stage_bytes.ok()) return Annotate(stage_bytes.status(), NameOf(j));
    if (room_for_length > 0) {
      const size_t length_bytes = VarintBytes(*stage_bytes);
      if (length_bytes < room_for_length) {
        std::memmove(body.data() + written + length_bytes, stage_body.data(), *stage_bytes);
      }
      ByteWriter length(body.subspan(written, length_bytes));
      PutVarint(length, *stage_bytes);
      written += length_bytes;
    }
    written += *stage_bytes;
    std::swap(next, other);
  }

  const std::span<float> sum = lease.span();
  LACONIC_RETURN_IF_ERROR(Decode(body.first(written), shape, sum));
  if (const size_t bad = AddFinite(sum, -1.0f, residual, &message); bad < sum.size()) {
    return absl::InvalidArgumentError(
        fmt::format("composite: element {} of {} overflows in the stages' sum", bad, sum.size()));
  }
  return written;
}

absl::Status Composite::Decode(std::span<const std::byte> body, const Shape& shape, std::span<float> sum) const {
  std::fill(sum.begin(), sum.end(), 0.0f);
  ByteReader in(body);
  for (size_t j = 0; j < stages_.size(); ++j) {
    uint64_t stage_bytes = in.remaining();
    if (HasLength(j, shape)) {
      const absl::StatusOr<uint64_t> length = GetVarint(in);
      if (!length.ok()) return Annotate(length.status(), NameOf(j));
      stage_bytes = *length;
    } else if (j + 1 < stages_.size()) {
      stage_bytes = stages_[j]->MaxBodyBytes(shape);
    }
    const std::span<const std::byte> stage_body = in.Take(stage_bytes);
    if (!in.ok()) {
      return absl::DataLossError(
          fmt::format("{}: {} bytes do not hold a body of {} more", NameOf(j), body.size(), stage_bytes));
    }
    const absl::Status status = stages_[j]->DecodeAdd(stage_body, shape, 1.0f, sum);
    if (!status.ok()) return Annotate(status, NameOf(j));
  }
  return absl::OkStatus();
}

absl::Status Composite::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                  std::span<float> acc) const {
  if (stages_.size() == 1) return stages_.front()->DecodeAdd(body, shape, scale, acc);
  LACONIC_RETURN_IF_ERROR(CheckFloats("composite", acc.size(), shape));
  if (acc.empty()) return CheckBodyBytes("composite", body.size(), 0);
  const LeasedScratch<float> sum(acc.size());
  LACONIC_RETURN_IF_ERROR(Decode(body, shape, sum.span()));
  if (const size_t bad = AddFinite(sum.span(), scale, acc, nullptr); bad < acc.size()) {
    return absl::DataLossError(fmt::format("composite body: the stages' sum overflows at element {}", bad));
  }
  return absl::OkStatus();
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo CompositeInfo() {
  std::vector<ParameterInfo> parameters = {
      {"codecs", "1..16 codecs", "", "the stages, in order, each of which codes what the ones before left"},
  };
  return {
      .name = "composite",
      .id = CodecId::kComposite,
      .summary = "several codecs, each of what the ones before left; outliers and low rank first, a quantiser last",
      .source = "GEAR: Kang et al. 2024, arXiv:2403.05527; Horvath and Richtarik 2021, arXiv:2006.11077",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry& registry) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        SpecArguments arguments(call, parameters);
        const std::vector<const SpecCall*> calls = arguments.Positional();
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        constexpr size_t kMax = internal::Composite::kMaxStages;
        if (calls.empty() || calls.size() > kMax) {
          return SpecError(call.column,
                           fmt::format("composite takes 1 to {} codecs, such as composite(topk(ratio=0.01), "
                                       "quantize(bits=2)), not {}",
                                       kMax, calls.size()));
        }
        std::vector<std::shared_ptr<const Compressor>> stages;
        for (const SpecCall* stage : calls) {
          LACONIC_ASSIGN_OR_RETURN(std::shared_ptr<const Compressor> codec, registry.Create(*stage));
          stages.push_back(std::move(codec));
        }
        return std::make_shared<const internal::Composite>(std::move(stages));
      },
      .examples = {"composite(topk(ratio=0.01), lowrank(rank=2), quantize(bits=2))",
                   "composite(quantize(bits=2), lowrank(rank=2), topk(ratio=0.005))",
                   "composite(topk(ratio=0.05), sign)", "composite(topk(k=3), scaled(natural), cast(to=bf16))",
                   "composite(topk(ratio=0.1, values=fp16), quantize(bits=4, rounding=stochastic))",
                   "composite(randk(k=8), composite(randk(k=8), randk(k=8), sign))", "composite(natural)"},
  };
}

}  // namespace laconic
