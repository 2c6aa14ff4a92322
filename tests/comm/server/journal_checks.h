// What every journal promises, as tests: a binary that links journal_checks.cc instantiates JournalTest with its kinds.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "laconic/base/hash.h"
#include "laconic/comm/server/journal.h"

namespace laconic {

// A place where a journal lies. Opened again after the one before it is gone, as after a crash.
class JournalPlace {
 public:
  virtual ~JournalPlace() = default;
  virtual absl::StatusOr<std::unique_ptr<RoundJournal>> Open() = 0;
};

struct JournalKind {
  std::string name;
  std::function<std::unique_ptr<JournalPlace>()> make_place;
};

class JournalTest : public testing::TestWithParam<JournalKind> {};

inline std::string JournalKindName(const testing::TestParamInfo<JournalKind>& info) { return info.param.name; }

// Second `seconds` of the test.
inline absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(1'700'000'000 + seconds); }

// `length` bytes of value `fill`, from client `client` for round `round`, accepted in round `counted_in`.
inline AcceptedUpdate MakeUpdate(uint64_t round, uint32_t client, uint64_t counted_in, size_t length, int fill) {
  AcceptedUpdate update{.round = round, .client = client, .counted_in = counted_in, .incarnation = 1};
  update.bytes.assign(length, static_cast<std::byte>(fill));
  update.digest = Hash64(update.bytes);
  update.accepted = At(static_cast<int64_t>(round));
  return update;
}

// A state that holds one number.
inline StateArchive MakeState(uint64_t value) {
  StateArchive archive;
  StateWriter(&archive).U64("value", value);
  return archive;
}

}  // namespace laconic
