// A client of a simulation: one process, which keeps to the protocol of round_machine.h, and the disk that it leaves to
// the next.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "tests/comm/server/simulated_world.h"

namespace laconic {

// What survives a crash of the client.
struct ClientDisk {
  uint64_t incarnations = 0;  // used so far
  Integers c{};
  struct Pending {  // an update that was perhaps accepted
    uint64_t round = 0;
    IntegerUpdate update;
    uint64_t digest = 0;
  };
  std::optional<Pending> pending;
};

class SimulatedClient {
 public:
  // Hands a request to the network; the reply may come back once, never, or several times.
  using Call = std::function<void(const Request&, std::function<void(const Reply&)>)>;

  SimulatedClient(World* world, uint32_t client, ClientDisk* disk, Call call)
      : world_(world), client_(client), disk_(disk), call_(std::move(call)), mine_(*disk) {}

  void Start();
  void Kill() { alive_ = false; }             // no event of it happens any more
  void TurnIntoZombie() { disk_ = nullptr; }  // lives on, but the disk is another process's now

  bool finished() const { return finished_; }  // it heard that the run is over
  bool stopped() const { return stopped_; }    // it was told off, and ended

 private:
  // Sends until an answer comes, then `then`. One request at a time: an answer to an older one is not heard.
  void Ask(const Request& request, std::function<void(const Reply&)> then);
  void Later(int64_t ms, void (SimulatedClient::*step)());
  void Stop(const absl::Status& why);
  Request Make(Request::Kind kind) const;

  void Register();
  void NextTask();
  void Pull(uint64_t round);
  void Admit();
  void Push(uint64_t reservation);
  void Settle(bool commit);

  void SaveToDisk() {
    if (disk_ != nullptr) *disk_ = mine_;
  }

  World* world_;
  uint32_t client_;
  ClientDisk* disk_;  // null: a zombie
  Call call_;
  ClientDisk mine_;  // as in memory
  bool alive_ = true, finished_ = false, stopped_ = false;
  uint64_t from_round_ = 0;
  uint64_t request_ = 0;  // number of the one that is asked
  uint64_t attempt_ = 0;  // of the pending update
};

}  // namespace laconic
