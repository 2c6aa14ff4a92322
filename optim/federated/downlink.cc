#include "optim/federated/downlink.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "optim/federated/broadcast.h"

namespace laconic::internal {

Downlink::Downlink(uint64_t seed, const VectorCodec& plain, const VectorCodec& codec, size_t vectors)
    : seed_(seed), plain_(plain), codec_(codec), vectors_(vectors) {
  if (codec.identity()) return;
  known_.resize(vectors);
  for (AlignedVector<float>& w : known_) w.resize(codec.elements());
  difference_.resize(codec.elements());
}

void Downlink::Open(uint64_t round, std::span<const std::span<const float>> vectors) {
  round_ = round;
  broadcast_.clear();
  if (codec_.identity() || !status_.ok()) return;
  if (round == 0) {
    for (size_t v = 0; v < vectors_; ++v) std::copy(vectors[v].begin(), vectors[v].end(), known_[v].begin());
    return;
  }
  status_ = SayDifferences(vectors);
}

absl::Status Downlink::SayDifferences(std::span<const std::span<const float>> vectors) {
  std::vector<std::byte> said = std::move(spare_);
  said.clear();
  for (uint32_t v = 0; v < vectors_; ++v) {
    AlignedVector<float>& w = known_[v];
    for (size_t i = 0; i < w.size(); ++i) difference_[i] = vectors[v][i] - w[i];
    const VectorCodec::Origin origin{.seed = seed_, .round = round_, .sender = VectorCodec::kServer, .vector = v};
    LACONIC_ASSIGN_OR_RETURN(const auto message, AppendMessage(codec_, difference_, origin, work_, said));
    LACONIC_RETURN_IF_ERROR(codec_.DecodeAdd(message, origin, 1.0f, w));  // as clients will: the same w, bit for bit
  }
  message_bytes_ += said.size();
  messages_.push_back(std::move(said));
  while (!messages_.empty() && message_bytes_ > WholeBytes()) {
    message_bytes_ -= messages_.front().size();
    spare_ = std::move(messages_.front());
    messages_.pop_front();
  }
  return absl::OkStatus();
}

size_t Downlink::WholeBytes() const {
  return BroadcastHeaderBytes(vectors_) + vectors_ * (VarintBytes(plain_.MaxBytes()) + plain_.MaxBytes());
}

// Of the rounds known ... round_, whose messages are all there.
size_t Downlink::DifferenceBytes(uint64_t known) const {
  const size_t rounds = round_ + 1 - known;
  size_t bytes = BroadcastHeaderBytes(rounds * vectors_);
  for (size_t r = messages_.size() - rounds; r < messages_.size(); ++r) bytes += messages_[r].size();
  return bytes;
}

bool Downlink::SendsDifferences(uint64_t known) const {
  if (known == round_ + 1) return true;  // none
  if (known == 0 || known > round_ || round_ + 1 - known > messages_.size()) return false;
  return DifferenceBytes(known) < WholeBytes();
}

size_t Downlink::BroadcastBytes(uint64_t known) const {
  return SendsDifferences(known) ? DifferenceBytes(known) : WholeBytes();
}

absl::StatusOr<std::span<const std::byte>> Downlink::Broadcast(uint64_t known,
                                                               std::span<const std::span<const float>> vectors) {
  LACONIC_RETURN_IF_ERROR(status_);
  broadcast_.clear();
  if (SendsDifferences(known)) {
    const size_t rounds = round_ + 1 - known;
    PutBroadcastHeader(BroadcastKind::kDifferences, round_, rounds * vectors_, broadcast_);
    for (size_t r = messages_.size() - rounds; r < messages_.size(); ++r) {
      broadcast_.insert(broadcast_.end(), messages_[r].begin(), messages_[r].end());
    }
    return broadcast_;
  }
  PutBroadcastHeader(BroadcastKind::kVectors, round_, vectors_, broadcast_);
  for (uint32_t v = 0; v < vectors_; ++v) {
    const std::span<const float> x = known_.empty() ? vectors[v] : std::span<const float>(known_[v]);
    const VectorCodec::Origin origin{.seed = seed_, .round = round_, .sender = VectorCodec::kServer, .vector = v};
    LACONIC_RETURN_IF_ERROR(AppendMessage(plain_, x, origin, work_, broadcast_).status());
  }
  return broadcast_;
}

void Downlink::Save(StateWriter& out) const {
  for (size_t v = 0; v < known_.size(); ++v) out.Floats(fmt::format("known/{}", v), known_[v]);
  out.U64("messages", messages_.size());
  for (size_t r = 0; r < messages_.size(); ++r) out.Bytes(fmt::format("message/{}", r), messages_[r]);
}

absl::Status Downlink::Load(const StateReader& in, uint64_t round) {
  std::vector<AlignedVector<float>> known = known_;
  for (size_t v = 0; v < known.size(); ++v) {
    LACONIC_RETURN_IF_ERROR(in.Floats(fmt::format("known/{}", v), known[v]));
  }
  LACONIC_ASSIGN_OR_RETURN(const uint64_t count, in.U64("messages"));
  if (count > round) return absl::DataLossError(fmt::format("{} messages of {} rounds", count, round));
  std::deque<std::vector<std::byte>> messages;
  size_t message_bytes = 0;
  for (size_t r = 0; r < count; ++r) {
    LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, in.Bytes(fmt::format("message/{}", r)));
    messages.emplace_back(bytes.begin(), bytes.end());
    message_bytes += bytes.size();
  }
  known_ = std::move(known);
  messages_ = std::move(messages);
  message_bytes_ = message_bytes;
  round_ = round;
  status_ = absl::OkStatus();
  broadcast_.clear();
  return absl::OkStatus();
}

}  // namespace laconic::internal
