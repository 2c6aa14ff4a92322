// `laconic fed`: federated learning with compressed messages.
#include "tools/fed/fed.h"

#include <utility>
#include <vector>

namespace laconic::tools {

Command AddFed(CLI::App& app, const std::string& command_line) {
  CLI::App* fed = app.add_subcommand("fed", "Federated learning: many clients, few of them at a time, few bits each");
  fed->require_subcommand(1);
  fed->footer(
      "Examples:\n"
      "  laconic fed run                                   three methods on Fashion-MNIST; open the report it names\n"
      "  laconic fed run --model \"mlp(hidden=128)\" --split dirichlet=0.3 --seeds 1,2,3 -o out\n"
      "  laconic fed rerun out                             the same again, bit for bit?\n"
      "  laconic fed resume out                            goes on after a crash\n"
      "  laconic fed split --clients 8 -o parts            a folder of samples for each client"
#ifdef LACONIC_TOOLS_WITH_SERVER
      "\n  laconic fed certs --clients 8 -o certs            who may speak to whom\n"
      "  laconic fed serve --data parts/test --clients 8 --certs certs -o served\n"
      "  laconic fed client --id 3 --data parts/part-3 --server HOST:5700 --certs certs --state client-3"
#endif
  );
  std::vector<Command> commands = {AddFedRun(*fed, command_line), AddFedRerun(*fed), AddFedResume(*fed),
                                   AddFedSplit(*fed)};
#ifdef LACONIC_TOOLS_WITH_SERVER
  commands.push_back(AddFedCerts(*fed));
  commands.push_back(AddFedServe(*fed, command_line));
  commands.push_back(AddFedClient(*fed));
  commands.push_back(AddFedAudit(*fed));
#endif
  return {fed, RunParsed(std::move(commands))};
}

}  // namespace laconic::tools
