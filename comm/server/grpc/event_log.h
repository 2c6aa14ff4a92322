// The structured log of a parameter server.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "laconic/comm/server/server.h"

namespace laconic::internal {

// Writes JSON lines {"time": ..., "event": ..., fields}, at most kMostPerSecond of one event in a second, so that a
// hostile client cannot fill a disk; the next line that is written says how many were left out. Thread-safe.
class EventLog {
 public:
  static constexpr uint32_t kMostPerSecond = 20;
  struct Field {
    std::string_view name;
    std::string text;
  };

  explicit EventLog(LogSink sink) : sink_(std::move(sink)) {}  // may be empty: nothing is written
  void Write(std::string_view event, std::initializer_list<Field> fields);

 private:
  struct Recent {
    absl::Time second;
    uint32_t written = 0;
    uint64_t left_out = 0;
  };

  const LogSink sink_;
  std::mutex mutex_;
  std::map<std::string, Recent, std::less<>> recent_;  // guarded by mutex_
};

}  // namespace laconic::internal
