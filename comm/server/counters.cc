#include "laconic/comm/server/counters.h"

namespace laconic {

std::string_view CounterName(Counter counter) {
  switch (counter) {
    case Counter::kRegistrations:
      return "registrations";
    case Counter::kPulls:
      return "pulls";
    case Counter::kPulledBytes:
      return "pulled_bytes";
    case Counter::kAccepted:
      return "accepted";
    case Counter::kAcceptedBytes:
      return "accepted_bytes";
    case Counter::kDuplicates:
      return "duplicates";
    case Counter::kLate:
      return "late";
    case Counter::kBusy:
      return "busy";
    case Counter::kRefusedStranger:
      return "refused_stranger";
    case Counter::kRefusedReplaced:
      return "refused_replaced";
    case Counter::kRefusedUnasked:
      return "refused_unasked";
    case Counter::kRefusedDigest:
      return "refused_digest";
    case Counter::kRefusedSize:
      return "refused_size";
    case Counter::kRefusedContent:
      return "refused_content";
    case Counter::kBrokenUploads:
      return "broken_uploads";
    case Counter::kExpiredUploads:
      return "expired_uploads";
    case Counter::kRounds:
      return "rounds";
    case Counter::kRoundMicroseconds:
      return "round_microseconds";
    case Counter::kExtensions:
      return "extensions";
    case Counter::kJournalErrors:
      return "journal_errors";
    case Counter::kCount:
      break;
  }
  return "";
}

std::optional<Counter> CounterNamed(std::string_view name) {
  std::optional<Counter> found;
  ForEachCounter([&](Counter counter) {
    if (CounterName(counter) == name) found = counter;
  });
  return found;
}

}  // namespace laconic
