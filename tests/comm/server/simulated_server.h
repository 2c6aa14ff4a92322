// The server of a simulation: the real round machine over a disk in memory, crashed and started again, and checked
// after every request against the replay of who counted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/comm/server/simulated_client.h"
#include "tests/comm/server/simulated_world.h"

namespace laconic {

class SimulatedServer {
 public:
  using Answer = std::function<void(const Reply&)>;

  // clients: the disks of all clients, by client. when_failed: called when the run has failed and is tried once more.
  SimulatedServer(World* world, const std::vector<ClientDisk>* clients, std::function<void()> when_failed);
  ~SimulatedServer();

  void Start();
  void Crash();  // loses what is in memory; starts again after a while
  void Receive(const Request& request, const Answer& answer);

  bool over() const { return over_; }  // finished, or failed for good
  bool up() const { return machine_ != nullptr; }
  const MemoryDisk& disk() const { return disk_; }
  // What must hold when all is over: nobody's answer was wrong, nothing is left reserved, every client's state is what
  // the server counted of it.
  void CheckEnd();

 private:
  class MutatedJournal;

  WriteFault FaultOfNextWrite();
  bool StillUp();  // after a call of the machine: false if it crashed in it
  void AfterCall();
  void Flush();
  Reply Handle(const Request& request);
  void Note(const Request& request, const Reply& reply);
  void CheckClosedRounds();
  void CheckClients();

  World* world_;
  const std::vector<ClientDisk>* clients_;
  std::function<void()> when_failed_;
  MemoryDisk disk_;
  IntegerReplay replay_;
  std::unique_ptr<IntegerWork> work_;
  std::unique_ptr<RoundJournal> journal_;
  std::unique_ptr<RoundMachine> machine_;  // null: down
  std::vector<std::pair<Request, Answer>> batch_;
  std::set<std::pair<uint64_t, uint32_t>> told_late_;
  uint64_t life_ = 0;   // how often it was started
  uint64_t alarm_ = 0;  // the one that is set
  uint64_t failures_ = 0;
  bool crash_in_call_ = false;
  bool over_ = false;
};

}  // namespace laconic
