// What the parts of a simulation share: virtual time, chance, the network, and the schedule's settings.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "laconic/comm/server/round_machine.h"
#include "tests/comm/server/integer_run.h"
#include "tests/comm/server/simulation.h"

namespace laconic {

// splitmix64 (Steele, Lea and Flood 2014).
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool PerMille(uint64_t probability) { return Below(1000) < probability; }

 private:
  uint64_t state_;
};

// How one schedule goes: drawn from the seed. Times in milliseconds; probabilities in per mille.
struct Schedule {
  explicit Schedule(uint64_t seed);

  Sampling sampling;
  uint64_t rounds;
  RoundRules rules;
  uint64_t lost, repeated, slow;                     // of each message
  uint64_t write_fails, write_torn, crash_at_write;  // of each write of the journal
  uint64_t server_crash_every, client_crash_every;   // mean time between them; 0: never
  uint64_t zombie;                                   // of the replaced clients
  uint64_t partition_every;                          // mean time between cuts of one client; 0: never
  uint64_t gone;                                     // of the clients: it never comes back from its first crash
  uint64_t batched;                                  // of the pushes: they wait for others and go in one write
  int64_t chaos_ends;                                // from here on nothing fails any more
};

// Virtual time and a network, told by chance what to lose.
class World {
 public:
  World(uint64_t seed, Mutation mutation, std::function<void(std::string_view)> trace)
      : mutation(mutation),
        schedule(seed),
        chance(Mix({seed, 1})),
        trace_(std::move(trace)),
        cut_until_(schedule.sampling.clients) {}

  int64_t now() const { return now_; }
  absl::Time Time(int64_t ms) const { return absl::FromUnixMillis(1'700'000'000'000 + ms); }
  absl::Time Time() const { return Time(now_); }
  int64_t Milliseconds(absl::Time time) const;  // rounded up; far away for InfiniteFuture
  bool chaos() const { return now_ < schedule.chaos_ends; }

  void At(int64_t ms, std::function<void()> event);
  void In(int64_t ms, std::function<void()> event) { At(now_ + ms, std::move(event)); }
  // The next event, unless it lies beyond `until`.
  bool Run(int64_t until);

  // Delivers a message between the server and `client`, in either direction: once, not at all, or several times.
  void Send(uint32_t client, const std::function<void()>& arrive);
  void Cut(uint32_t client, int64_t until) { cut_until_[client] = until; }

  bool tracing() const { return static_cast<bool>(trace_); }
  void Trace(const std::string& line) const;
  void Violated(const std::string& what) {
    if (result.violation.empty()) result.violation = what;
  }

  const Mutation mutation;
  const Schedule schedule;
  Chance chance;
  SimulationResult result;

 private:
  struct Event {
    int64_t ms;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Event& other) const { return std::pair(ms, order) > std::pair(other.ms, other.order); }
  };
  std::function<void(std::string_view)> trace_;
  std::priority_queue<Event> events_;
  uint64_t order_ = 0;
  int64_t now_ = 0;
  std::vector<int64_t> cut_until_;
};

// A request as it travels. One type for all, as on a wire.
struct Request {
  enum class Kind { kRegister, kNextTask, kPull, kAdmit, kPush, kHeartbeat };
  Kind kind = Kind::kRegister;
  Caller caller;
  uint64_t round = 0;  // kNextTask: from_round
  uint64_t update_bytes = 0, digest = 0, reservation = 0;
  std::vector<std::byte> bytes;
};

// What comes back: an error, or the answer to the kind of request.
struct Reply {
  absl::Status status;
  Registration registration;
  Task task;
  bool late = false;  // kPull
  uint64_t model = 0;
  Admission admission;
  PushOutcome outcome = PushOutcome::kLate;
};

}  // namespace laconic
