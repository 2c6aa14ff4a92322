#include "tests/comm/server/simulated_world.h"

#include <fmt/format.h>

#include <algorithm>

namespace laconic {

Schedule::Schedule(uint64_t seed) {
  Chance chance(Mix({seed, 0}));
  // Half of the schedules have a fault, half do without it, so that each also meets calm.
  const auto sometimes = [&](uint64_t high) { return chance.PerMille(500) ? chance.Between(1, high) : 0; };
  const auto clients = static_cast<uint32_t>(chance.Between(1, 5));
  sampling = {.seed = seed, .clients = clients, .per_mille = static_cast<uint32_t>(chance.PerMille(600) ? 1000 : 600)};
  rounds = chance.Between(1, 7);

  rules.quorum = static_cast<uint32_t>(chance.Between(1, chance.PerMille(300) ? clients : (clients + 1) / 2));
  if (chance.PerMille(300)) rules.enough = static_cast<uint32_t>(chance.Between(rules.quorum, clients));
  rules.staleness = chance.PerMille(400) ? chance.Between(1, 3) : 0;
  rules.deadline = absl::Milliseconds(chance.Between(1000, 5000));
  rules.max_extensions = static_cast<uint32_t>(chance.Between(2, 12));
  if (chance.PerMille(300)) rules.silence = absl::Milliseconds(chance.Between(1000, 4000));
  rules.start_clients = static_cast<uint32_t>(chance.Between(0, clients));
  rules.max_update_bytes = 64;
  rules.max_bytes_in_flight = chance.Between(64, 200);
  rules.max_in_flight_per_client = static_cast<uint32_t>(chance.Between(1, 3));
  rules.upload_timeout = absl::Milliseconds(chance.Between(300, 3000));
  rules.save_every = chance.Between(1, 3);

  lost = sometimes(300);
  repeated = sometimes(300);
  slow = sometimes(200);
  write_fails = sometimes(100);
  write_torn = sometimes(100);
  crash_at_write = sometimes(60);
  server_crash_every = sometimes(8000);
  client_crash_every = sometimes(8000);
  zombie = sometimes(700);
  partition_every = sometimes(8000);
  gone = chance.PerMille(150) ? 300 : 0;
  batched = sometimes(1000);
  chaos_ends = static_cast<int64_t>(chance.Between(3000, 12000));
}

int64_t World::Milliseconds(absl::Time time) const {
  const absl::Duration since = time - Time(0);
  return since > absl::Hours(1000) ? absl::ToInt64Milliseconds(absl::Hours(1000))
                                   : absl::ToInt64Milliseconds(absl::Ceil(since, absl::Milliseconds(1)));
}

void World::At(int64_t ms, std::function<void()> event) {
  events_.push({std::max(ms, now_), order_++, std::move(event)});
}

bool World::Run(int64_t until) {
  if (events_.empty() || events_.top().ms > until) return false;
  now_ = events_.top().ms;
  const std::function<void()> run = std::move(const_cast<Event&>(events_.top()).run);
  events_.pop();
  ++result.events;
  run();
  return true;
}

void World::Send(uint32_t client, const std::function<void()>& arrive) {
  uint64_t copies = 1;
  if (chaos() && chance.PerMille(schedule.lost)) copies = 0;
  if (chaos() && chance.PerMille(schedule.repeated)) copies = chance.Between(2, 5);
  if (copies == 0) ++result.messages_lost;
  if (copies > 1) ++result.messages_repeated;
  for (; copies > 0; --copies) {
    const bool slow = chaos() && chance.PerMille(schedule.slow);
    const auto delay = static_cast<int64_t>(slow ? chance.Between(100, 6000) : chance.Between(1, 40));
    // Cut off when it would leave or when it would arrive: lost.
    if (cut_until_[client] > now_ || cut_until_[client] > now_ + delay) {
      ++result.messages_lost;
      continue;
    }
    In(delay, arrive);
  }
}

void World::Trace(const std::string& line) const {
  if (trace_) trace_(fmt::format("{:6} ms  {}", now_, line));
}

}  // namespace laconic
