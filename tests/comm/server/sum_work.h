// The least there can be to do in rounds: adding up numbers, so that who counted, and how often, is checked exactly.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/round_work.h"

namespace laconic {

// An update is a number, then padding; the total is the sum of all that counted. A broadcast is the total, then
// padding.
class SumWork : public RoundWork {
 public:
  SumWork(uint32_t clients, size_t update_bytes, size_t broadcast_bytes)
      : clients_(clients), update_bytes_(update_bytes), broadcast_(broadcast_bytes) {}

  // What client `client` adds in `round`: below 2^53 in any sum here, so that sums of doubles are exact.
  static double NumberOf(uint32_t client, uint64_t round) {
    return static_cast<double>(client + 1) + 1000.0 * static_cast<double>(round);
  }
  static std::vector<std::byte> Update(double number, size_t update_bytes) {
    std::vector<std::byte> update(update_bytes);
    std::memcpy(update.data(), &number, sizeof(number));
    return update;
  }
  // The total after `rounds` rounds in which everybody counted once.
  static double TotalOf(uint32_t clients, uint64_t rounds) {
    double total = 0;
    for (uint64_t round = 0; round < rounds; ++round) {
      for (uint32_t client = 0; client < clients; ++client) total += NumberOf(client, round);
    }
    return total;
  }

  double total() const { return total_; }

  std::vector<uint32_t> Participants(uint64_t) const override {
    std::vector<uint32_t> all(clients_);
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  absl::StatusOr<std::span<const std::byte>> Broadcast(uint64_t, uint64_t) override {
    std::memcpy(broadcast_.data(), &total_, sizeof(total_));
    return broadcast_;
  }
  absl::Status Check(const RoundUpdate& update) const override {
    if (update.bytes.size() != update_bytes_) {
      return absl::InvalidArgumentError("an update of " + std::to_string(update.bytes.size()) + " bytes, expected " +
                                        std::to_string(update_bytes_));
    }
    return std::isfinite(NumberIn(update)) ? absl::OkStatus() : absl::InvalidArgumentError("the number is not finite");
  }
  absl::Status Close(uint64_t, std::span<const RoundUpdate> updates) override {
    for (const RoundUpdate& update : updates) total_ += NumberIn(update);
    return absl::OkStatus();
  }
  void Save(StateWriter& out) const override {
    uint64_t bits = 0;
    std::memcpy(&bits, &total_, sizeof(bits));
    out.U64("total", bits);
  }
  absl::Status Load(const StateReader& in) override {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t bits, in.U64("total"));
    std::memcpy(&total_, &bits, sizeof(bits));
    return absl::OkStatus();
  }

 private:
  const uint32_t clients_;
  const size_t update_bytes_;
  double total_ = 0;
  std::vector<std::byte> broadcast_;

  static double NumberIn(const RoundUpdate& update) {
    double number = 0;
    std::memcpy(&number, update.bytes.data(), sizeof(number));
    return number;
  }
};

}  // namespace laconic
