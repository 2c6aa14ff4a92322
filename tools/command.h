// What a subcommand of `laconic` is, and how a new one joins: a function that adds it to the app and says how to run
// it, named in laconic.cc.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"

namespace laconic::tools {

// What a command answers. Its exit status is for scripts: 0 fine, 1 the answer is "no" (a failed check, a regression),
// 2 bad usage or input, or a failure while running, with the reason on stderr.
enum class Answer { kYes, kNo };

struct Command {
  CLI::App* app = nullptr;  // parsed() when this command was asked for
  std::function<absl::StatusOr<Answer>()> run;
};

// Runs the one of `commands` that was asked for: of a command that has commands of its own.
inline std::function<absl::StatusOr<Answer>()> RunParsed(std::vector<Command> commands) {
  return [commands = std::move(commands)]() -> absl::StatusOr<Answer> {
    for (const Command& command : commands) {
      if (command.app->parsed()) return command.run();
    }
    return absl::InternalError("no command was parsed, though one is required");
  };
}

Command AddMethods(CLI::App& app);
Command AddCodec(CLI::App& app);
Command AddCheck(CLI::App& app);
Command AddPlan(CLI::App& app);
Command AddReport(CLI::App& app);
Command AddCompare(CLI::App& app);
// command_line: the whole one, as a shell would take it again, for files that say how they came about.
Command AddBench(CLI::App& app, const std::string& command_line);
Command AddFed(CLI::App& app, const std::string& command_line);

}  // namespace laconic::tools
