#include "comm/server/grpc/event_log.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/clock.h"

namespace laconic {
namespace internal {

void EventLog::Write(std::string_view event, std::initializer_list<Field> fields) {
  if (!sink_) return;
  const absl::Time now = absl::Now();
  const std::lock_guard<std::mutex> lock(mutex_);
  Recent& recent = recent_[std::string(event)];
  if (now - recent.second >= absl::Seconds(1)) recent = {.second = now, .written = 0, .left_out = recent.left_out};
  if (recent.written == kMostPerSecond) {
    ++recent.left_out;
    return;
  }
  ++recent.written;
  nlohmann::ordered_json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", now, absl::UTCTimeZone());
  line["event"] = event;
  for (const Field& field : fields) line[std::string(field.name)] = field.text;
  if (recent.left_out > 0) line["left_out"] = std::exchange(recent.left_out, 0);
  sink_(line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace internal

std::function<void(const RoundEvent&)> LogEvents(LogSink log) {
  return [events = std::make_shared<internal::EventLog>(std::move(log))](const RoundEvent& event) {
    const auto name = [&]() -> std::string_view {
      switch (event.kind) {
        case RoundEvent::Kind::kRecovered:
          return "run_recovered";
        case RoundEvent::Kind::kOpened:
          return "round_opened";
        case RoundEvent::Kind::kClosed:
          return "round_closed";
        case RoundEvent::Kind::kExtended:
          return "round_extended";
        case RoundEvent::Kind::kReplaced:
          return "client_replaced";
        case RoundEvent::Kind::kRefused:
          return "update_refused";
        case RoundEvent::Kind::kJournalError:
          return "journal_error";
        case RoundEvent::Kind::kFinished:
          return "run_finished";
        case RoundEvent::Kind::kFailed:
          return "run_failed";
      }
      return "unknown";
    };
    events->Write(name(), {{"round", std::to_string(event.round)}, {"text", event.text}});
  };
}

}  // namespace laconic
