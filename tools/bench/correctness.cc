#include "tools/bench/correctness.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "comm/collectives/strategies.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/collectives/primitives.h"
#include "tools/sample_data.h"

namespace laconic::tools {
namespace {

constexpr size_t kKeptBytes = size_t{1} << 30;

absl::StatusOr<StrategySpec> ParseStrategyText(std::string_view text) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(text));
  LACONIC_ASSIGN_OR_RETURN(const Pipeline pipeline, MakePipeline(std::span(&call, 1), CodecRegistry::BuiltIn()));
  return pipeline.strategy;
}

// acc += share * decode(encode(x)).
absl::Status AddThroughCodec(const Compressor& codec, std::span<const float> x, const RngKey& key, const Shape& shape,
                             float share, std::vector<std::byte>& body, std::span<float> acc) {
  body.resize(codec.MaxBodyBytes(shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, codec.Encode(x, shape, key, body));
  return codec.DecodeAdd(std::span(body).first(bytes), shape, share, acc);
}

}  // namespace

std::span<const float> Gradients::Of(int rank) {
  if (!kept_[rank].empty()) return kept_[rank];
  last_ = Gaussian(count_, seed_, static_cast<uint32_t>(rank));
  if (kept_bytes_ + count_ * sizeof(float) > kKeptBytes) return last_;
  kept_bytes_ += count_ * sizeof(float);
  kept_[rank].swap(last_);
  return kept_[rank];
}

absl::StatusOr<std::optional<std::vector<float>>> FirstDirection(const GradientSlot& slot, std::string_view strategy,
                                                                 int ranks, uint64_t seed, Gradients& gradients) {
  const bool gather = strategy == "gather";
  if (!gather && !strategy.starts_with("scatter")) return std::nullopt;
  LACONIC_ASSIGN_OR_RETURN(const StrategySpec spec, ParseStrategyText(strategy));

  const size_t count = slot.shape.elements();
  const int parts = gather ? 1 : spec.owners > 0 ? spec.owners : ranks;
  const float share = 1.0f / static_cast<float>(ranks);
  std::vector<float> mean(count), message(count);
  std::vector<std::byte> body;
  auto range_of = [&](int part) {
    return gather ? ShardRange{0, count} : ShardOf(count, parts, part, kShardAlignment);
  };
  auto shape_of = [&](int part) { return gather ? slot.shape : Shape::Flat(range_of(part).size()); };
  auto key_of = [&](int rank, uint32_t stream) {
    return RngKey{.seed = seed, .tensor = Index(slot.id), .rank = static_cast<uint32_t>(rank), .stream = stream};
  };
  for (int rank = 0; rank < ranks; ++rank) {
    ErrorControl control(slot.control.options(), count);
    control.Prepare(gradients.Of(rank).first(count)).Form(0, message);
    for (int part = 0; part < parts; ++part) {
      const ShardRange range = range_of(part);
      LACONIC_RETURN_IF_ERROR(AddThroughCodec(*slot.codec, std::span(message).subspan(range.begin, range.size()),
                                              key_of(rank, part), shape_of(part), share, body,
                                              std::span(mean).subspan(range.begin, range.size())));
    }
  }
  if (gather) return mean;

  std::vector<float> direction(count);
  for (int owner = 0; owner < parts; ++owner) {  // whose own error is zero as yet
    const ShardRange range = range_of(owner);
    LACONIC_RETURN_IF_ERROR(AddThroughCodec(*slot.codec, std::span(mean).subspan(range.begin, range.size()),
                                            key_of(owner, kOwnerStream + owner), shape_of(owner), 1.0f, body,
                                            std::span(direction).subspan(range.begin, range.size())));
  }
  return direction;
}

double LinearTolerance(const GradientSlot& slot, int ranks, float largest) {
  const size_t last_round = slot.session->RoundFloats(slot.session->rounds() - 1);
  const double terms = std::ceil(static_cast<double>(last_round) / static_cast<double>(slot.shape.cols()));
  return 2 * (terms + ranks + 2) * 0x1p-24 * std::sqrt(static_cast<double>(slot.shape.rows())) * largest;
}

absl::StatusOr<uint64_t> CountWrong(Communicator& comm, std::span<const float> result, std::span<const float> expected,
                                    double tolerance) {
  uint64_t wrong = 0;
  if (comm.rank() == 0 && !expected.empty()) {
    for (size_t i = 0; i < result.size(); ++i) {
      wrong += !(std::abs(static_cast<double>(result[i]) - expected[i]) <= tolerance);  // a NaN is wrong
    }
  }
  std::vector<uint64_t> all(comm.size());
  const uint64_t hash = Hash64(std::as_bytes(result));
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(&hash, 1)), std::as_writable_bytes(std::span(all))));
  if (std::any_of(all.begin(), all.end(), [&](uint64_t other) { return other != all[0]; })) {
    std::vector<float> first(result.begin(), result.end());
    LACONIC_RETURN_IF_ERROR(Broadcast(comm, 0, std::as_writable_bytes(std::span(first))));
    for (size_t i = 0; i < result.size(); ++i) wrong += std::memcmp(&first[i], &result[i], sizeof(float)) != 0;
  }
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(&wrong, 1)), std::as_writable_bytes(std::span(all))));
  uint64_t total = 0;
  for (uint64_t count : all) total += count;
  return total;
}

}  // namespace laconic::tools
