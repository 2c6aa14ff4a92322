// Opens a parameter server's journal in an empty folder. Exits with 0 when it holds a run that has just begun.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "laconic/comm/server/sqlite_journal.h"

int main() {
  char folder[] = "/tmp/laconic_consumer_XXXXXX";
  if (mkdtemp(folder) == nullptr) return 1;
  int result = 1;
  if (const auto journal = laconic::MakeSqliteJournal({.path = std::string(folder) + "/run.db"}); journal.ok()) {
    const auto run = (*journal)->Open({.id = 1, .clients = 1, .rounds = 1}, absl::Now());
    result = run.ok() && run->closed_rounds == 0 ? 0 : 1;
  } else {
    std::fprintf(stderr, "%s\n", journal.status().ToString().c_str());
  }
  std::filesystem::remove_all(folder);
  return result;
}
