// `laconic fed audit`: was every update counted once, and no other?
#include <memory>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/sqlite_journal.h"
#include "tools/fed/fed.h"

namespace laconic::tools {

Command AddFedAudit(CLI::App& fed) {
  CLI::App* audit = fed.add_subcommand("audit", "Look through a server's journal for what must not be");
  audit->footer(
      "Nothing to say and exit status 0: every accepted update counts in one round, every round has counted as many as "
      "were accepted for it, and no client counts twice in one. Else a line for each fault and 1.\n\n"
      "  laconic fed audit out");
  auto folder = std::make_shared<std::string>();
  audit->add_option("folder", *folder, "Of laconic fed serve")->required();
  return {audit, [folder]() -> absl::StatusOr<Answer> {
            LACONIC_ASSIGN_OR_RETURN(const std::vector<std::string> faults,
                                     AuditSqliteJournal(*folder + "/journal.db"));
            for (const std::string& fault : faults) fmt::print("{}\n", fault);
            return faults.empty() ? Answer::kYes : Answer::kNo;
          }};
}

}  // namespace laconic::tools
