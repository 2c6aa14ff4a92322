#include "tests/comm/server/simulation.h"

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "tests/comm/server/simulated_client.h"
#include "tests/comm/server/simulated_server.h"
#include "tests/comm/server/simulated_world.h"

namespace laconic {
namespace {

class Simulation {
 public:
  Simulation(uint64_t seed, Mutation mutation, const std::function<void(std::string_view)>& trace)
      : world_(seed, mutation, trace),
        disks_(world_.schedule.sampling.clients),
        slots_(world_.schedule.sampling.clients),
        server_(&world_, &disks_, [this] { RestartStopped(); }) {}

  SimulationResult Run() {
    server_.Start();
    const Schedule& schedule = world_.schedule;
    for (uint32_t client = 0; client < disks_.size(); ++client) {
      world_.In(static_cast<int64_t>(world_.chance.Below(1000)), [this, client] { StartClient(client); });
      if (schedule.client_crash_every > 0) Plan(schedule.client_crash_every, [this, client] { CrashClient(client); });
      if (schedule.partition_every > 0) Plan(schedule.partition_every, [this, client] { CutOff(client); });
    }
    if (schedule.server_crash_every > 0) Plan(schedule.server_crash_every, [this] { server_.Crash(); });
    world_.At(schedule.chaos_ends, [this] {
      world_.Trace("nothing fails from here on");
      for (uint32_t client = 0; client < disks_.size(); ++client) world_.Cut(client, 0);
    });

    // Each round takes at most all its extensions, also the wait for the first; and the run is tried once more.
    const int64_t deadline = absl::ToInt64Milliseconds(schedule.rules.deadline);
    const int64_t end = schedule.chaos_ends + 20'000 +
                        2 * static_cast<int64_t>(schedule.rounds + 1) * deadline * (schedule.rules.max_extensions + 2);
    while (!Over() && world_.result.violation.empty()) {
      if (!world_.Run(end)) break;
    }
    if (!Over()) world_.Violated(fmt::format("the run does not end within {} ms", end));
    if (server_.up()) server_.CheckEnd();
    CheckEveryoneSettled();
    return world_.result;
  }

 private:
  struct Slot {
    std::vector<std::unique_ptr<SimulatedClient>> processes;  // the last is the one that has the disk
    bool starting = false, gone = false;
  };

  bool Over() const {
    if (!server_.over()) return false;
    if (!server_.up()) return false;
    for (const Slot& slot : slots_) {
      if (slot.gone) continue;
      if (slot.starting || slot.processes.empty()) return false;
      const SimulatedClient& client = *slot.processes.back();
      if (!client.finished() && !client.stopped()) return false;
    }
    return true;
  }

  // `what`, again and again at random times as long as there is chaos.
  void Plan(uint64_t every, std::function<void()> what) {
    world_.In(static_cast<int64_t>(world_.chance.Between(1, 2 * every)), [this, every, what] {
      if (!world_.chaos()) return;
      what();
      Plan(every, what);
    });
  }

  void StartClient(uint32_t client) {
    Slot& slot = slots_[client];
    slot.starting = false;
    if (!slot.processes.empty()) slot.processes.back()->TurnIntoZombie();  // if it lives
    const auto call = [this, client](const Request& request, std::function<void(const Reply&)> answer) {
      world_.Send(client, [this, client, request, answer] {
        server_.Receive(request, [this, client, answer](const Reply& reply) {
          world_.Send(client, [reply, answer] { answer(reply); });
        });
      });
    };
    slot.processes.push_back(std::make_unique<SimulatedClient>(&world_, client, &disks_[client], call));
    slot.processes.back()->Start();
  }

  void CrashClient(uint32_t client) {
    Slot& slot = slots_[client];
    if (slot.starting || slot.gone || slot.processes.empty()) return;
    ++world_.result.client_crashes;
    if (world_.chance.PerMille(world_.schedule.gone)) {
      world_.Trace(fmt::format("client {} is gone for good", client));
      slot.gone = true;
      return slot.processes.back()->Kill();
    }
    if (world_.chance.PerMille(world_.schedule.zombie)) {
      world_.Trace(fmt::format("client {} is replaced and lives on", client));
      ++world_.result.zombies;
    } else {
      world_.Trace(fmt::format("client {} killed", client));
      slot.processes.back()->Kill();
    }
    slot.starting = true;
    world_.In(static_cast<int64_t>(world_.chance.Between(1, 2000)), [this, client] { StartClient(client); });
  }

  void CutOff(uint32_t client) {
    const auto length = static_cast<int64_t>(world_.chance.Between(100, 3000));
    world_.Trace(fmt::format("client {} is cut off for {} ms", client, length));
    world_.Cut(client, world_.now() + length);
  }

  // The run failed, and whoever runs it starts it again, clients included.
  void RestartStopped() {
    world_.In(2000, [this] {
      for (uint32_t client = 0; client < slots_.size(); ++client) {
        Slot& slot = slots_[client];
        if (slot.starting || slot.gone || slot.processes.empty()) continue;
        slot.processes.back()->Kill();
        StartClient(client);
      }
    });
  }

  // Whoever is left has no update whose fate it does not know, and nobody stopped without a reason.
  void CheckEveryoneSettled() {
    for (uint32_t client = 0; client < slots_.size(); ++client) {
      const Slot& slot = slots_[client];
      if (slot.gone || !world_.result.finished) continue;
      if (slot.processes.back()->stopped()) world_.Violated(fmt::format("client {} stopped for no reason", client));
      if (disks_[client].pending.has_value())
        world_.Violated(fmt::format("client {} never settled its update", client));
    }
  }

  World world_;
  std::vector<ClientDisk> disks_;
  std::vector<Slot> slots_;
  SimulatedServer server_;
};

}  // namespace

SimulationResult Simulate(uint64_t seed, Mutation mutation, const std::function<void(std::string_view)>& trace) {
  return Simulation(seed, mutation, trace).Run();
}

}  // namespace laconic
