// A run in integers, so that every equality is exact: what the server does, what clients send, and the same run again
// without server, network or faults.
//
// Client i keeps c_i, the server c = the sum of what it counted of each. For round r, whose model is x, client i sends
// d = Draw(i, r, x, c_i), and moves c_i by it once it is accepted. The model is a hash over all that was counted, in
// order: one update more, less, twice, out of order or made from another state changes it for good.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "laconic/comm/server/round_work.h"
#include "tests/comm/server/memory_journal.h"

namespace laconic {

using Integers = std::array<int64_t, 2>;

inline void Add(Integers& to, const Integers& what) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += what[i];
}

// A hash of a few numbers.
uint64_t Mix(std::initializer_list<uint64_t> values);

// What client `client` sends for `round`: the bytes of client, round and d. Some are out of bounds, so that
// IntegerWork::Check refuses them.
struct IntegerUpdate {
  uint32_t client = 0;
  uint64_t round = 0;
  Integers d{};

  static IntegerUpdate Make(uint32_t client, uint64_t round, uint64_t model, const Integers& c);
  std::vector<std::byte> Bytes() const;
  static absl::StatusOr<IntegerUpdate> Parse(std::span<const std::byte> bytes);
};

// Who takes part in a round.
struct Sampling {
  uint64_t seed = 0;
  uint32_t clients = 1;
  uint32_t per_mille = 1000;  // each client with this probability, perhaps nobody

  std::vector<uint32_t> Participants(uint64_t round) const;
};

class IntegerWork : public RoundWork {
 public:
  explicit IntegerWork(const Sampling& sampling) : sampling_(sampling), c_(sampling.clients) {}

  std::vector<uint32_t> Participants(uint64_t round) const override { return sampling_.Participants(round); }
  absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t round, uint64_t known) override;
  absl::Status Check(const RoundUpdate& update) const override;
  absl::Status Close(uint64_t round, std::span<const RoundUpdate> updates) override;
  void Save(StateWriter& out) const override;
  absl::Status Load(const StateReader& in) override;

  uint64_t closed_rounds() const { return closed_rounds_; }
  uint64_t model() const { return model_; }
  const std::vector<Integers>& c() const { return c_; }

 private:
  Sampling sampling_;
  uint64_t closed_rounds_ = 0;
  uint64_t model_ = 1;
  std::vector<Integers> c_;  // by client: what was counted of it
  std::vector<std::byte> broadcast_;
};

// The run again, in order, from nothing but who counted in which round.
class IntegerReplay {
 public:
  explicit IntegerReplay(const Sampling& sampling) : sampling_(sampling), c_(sampling.clients), models_{1} {}

  // Closes the next round as `disk` says it was closed. Empty, or what is wrong with it: updates of who was not asked,
  // other bytes than that client would have sent, a client twice, another number than the round claims.
  std::string Close(const MemoryDisk& disk);

  uint64_t closed_rounds() const { return models_.size() - 1; }
  uint64_t model() const { return models_.back(); }
  const std::vector<Integers>& c() const { return c_; }

 private:
  Sampling sampling_;
  std::vector<Integers> c_;
  std::vector<uint64_t> models_;  // by round
};

}  // namespace laconic
