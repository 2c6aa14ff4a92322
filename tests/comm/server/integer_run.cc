#include "tests/comm/server/integer_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "laconic/base/byte_io.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr int64_t kBound = 100;
constexpr size_t kUpdateBytes = 8 + 8 + sizeof(Integers);

// The model after one more update.
uint64_t Step(uint64_t model, const IntegerUpdate& update) {
  return Mix(
      {model, update.client, update.round, static_cast<uint64_t>(update.d[0]), static_cast<uint64_t>(update.d[1])});
}

}  // namespace

uint64_t Mix(std::initializer_list<uint64_t> values) {
  return Hash64(std::as_bytes(std::span(values.begin(), values.size())));
}

IntegerUpdate IntegerUpdate::Make(uint32_t client, uint64_t round, uint64_t model, const Integers& c) {
  const uint64_t draw = Mix({client, round, model, static_cast<uint64_t>(c[0]), static_cast<uint64_t>(c[1])});
  IntegerUpdate update = {client, round};
  update.d = {static_cast<int64_t>(draw % 9) - 4, static_cast<int64_t>(draw / 9 % 9) - 4};
  if (draw % 64 == 0) update.d[0] = kBound + 1;
  return update;
}

std::vector<std::byte> IntegerUpdate::Bytes() const {
  std::vector<std::byte> bytes(kUpdateBytes);
  ByteWriter writer(bytes);
  writer.Put(uint64_t{client});
  writer.Put(round);
  writer.PutArray(std::span<const int64_t>(d));
  return bytes;
}

absl::StatusOr<IntegerUpdate> IntegerUpdate::Parse(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  IntegerUpdate update;
  update.client = static_cast<uint32_t>(reader.Get<uint64_t>());
  update.round = reader.Get<uint64_t>();
  for (int64_t& value : update.d) value = reader.Get<int64_t>();
  LACONIC_RETURN_IF_ERROR(reader.Finish("update"));
  return update;
}

std::vector<uint32_t> Sampling::Participants(uint64_t round) const {
  std::vector<uint32_t> participants;
  for (uint32_t client = 0; client < clients; ++client) {
    if (Mix({seed, round, client}) % 1000 < per_mille) participants.push_back(client);
  }
  return participants;
}

absl::StatusOr<std::span<const std::byte>> IntegerWork::Broadcast(uint64_t round, uint64_t known) {
  if (round != closed_rounds_) return absl::InternalError(fmt::format("broadcast of {} in {}", round, closed_rounds_));
  const auto bytes = std::as_bytes(std::span(&model_, 1));
  broadcast_.assign(bytes.begin(), bytes.end());
  return broadcast_;
}

absl::Status IntegerWork::Check(const RoundUpdate& update) const {
  LACONIC_ASSIGN_OR_RETURN(const IntegerUpdate parsed, IntegerUpdate::Parse(update.bytes));
  if (parsed.client != update.client || parsed.round != update.round) {
    return absl::DataLossError(fmt::format("made by client {} for round {}", parsed.client, parsed.round));
  }
  for (const int64_t value : parsed.d) {
    if (value < -kBound || value > kBound) return absl::DataLossError(fmt::format("{} is out of bounds", value));
  }
  return absl::OkStatus();
}

absl::Status IntegerWork::Close(uint64_t round, std::span<const RoundUpdate> updates) {
  if (round != closed_rounds_) return absl::InternalError(fmt::format("close of {} in {}", round, closed_rounds_));
  for (const RoundUpdate& update : updates) {
    LACONIC_ASSIGN_OR_RETURN(const IntegerUpdate parsed, IntegerUpdate::Parse(update.bytes));
    model_ = Step(model_, parsed);
    Add(c_[update.client], parsed.d);
  }
  ++closed_rounds_;
  return absl::OkStatus();
}

void IntegerWork::Save(StateWriter& out) const {
  out.U64("closed_rounds", closed_rounds_);
  out.U64("model", model_);
  out.Bytes("c", std::as_bytes(std::span(c_)));
}

absl::Status IntegerWork::Load(const StateReader& in) {
  LACONIC_ASSIGN_OR_RETURN(closed_rounds_, in.U64("closed_rounds"));
  LACONIC_ASSIGN_OR_RETURN(model_, in.U64("model"));
  LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> c, in.Bytes("c"));
  if (c.size() != c_.size() * sizeof(Integers)) return absl::DataLossError("c of another number of clients");
  std::memcpy(c_.data(), c.data(), c.size());
  return absl::OkStatus();
}

std::string IntegerReplay::Close(const MemoryDisk& disk) {
  const uint64_t round = closed_rounds();
  std::map<uint32_t, uint64_t> counted;  // client -> the round its update was made for
  for (const auto& [key, update] : disk.inbox) {
    if (update.counted_in != round) continue;
    if (!counted.emplace(update.client, update.round).second) {
      return fmt::format("client {} counts twice in round {}", update.client, round);
    }
  }
  if (counted.size() != disk.rounds[round].counted) {
    return fmt::format("round {} counted {} updates, accepted {}", round, disk.rounds[round].counted, counted.size());
  }
  uint64_t model = models_.back();
  for (const auto& [client, made_for] : counted) {
    const std::vector<uint32_t> asked = sampling_.Participants(made_for);
    if (!std::binary_search(asked.begin(), asked.end(), client)) {
      return fmt::format("client {} counts in round {}, and was not asked in {}", client, round, made_for);
    }
    const IntegerUpdate update = IntegerUpdate::Make(client, made_for, models_[made_for], c_[client]);
    if (Hash64(update.Bytes()) != disk.inbox.at({made_for, client}).digest) {
      return fmt::format("client {} sent another update for round {} than its state at that point makes", client,
                         made_for);
    }
    model = Step(model, update);
    Add(c_[client], update.d);
  }
  models_.push_back(model);
  return "";
}

}  // namespace laconic
