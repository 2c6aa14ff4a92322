// The command `laconic`: finds the subcommand asked for, runs it, and turns its answer into an exit status.
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "tools/command.h"

namespace laconic::tools {
namespace {

// Quoted where a shell would take a character for something else.
std::string CommandLine(int argc, char** argv) {
  std::string line = "laconic";
  for (const std::string_view argument : std::span(argv + 1, argv + argc)) {
    const bool plain = !argument.empty() && argument.find_first_not_of(
                                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                "0123456789_-+=./,:@%") == std::string_view::npos;
    line += ' ';
    if (plain) {
      line += argument;
      continue;
    }
    line += '\'';
    for (char c : argument) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

int Main(int argc, char** argv) {
  CLI::App app{
      "Laconic: compressed collectives with controlled error compensation.\n\n"
      "A spec says how gradients travel: codec + error control + strategy, for example\n"
      "  topk(ratio=0.01)+econtrol+gather\n"
      "`laconic methods` lists what can stand in one.\n\n"
      "Exit status: 0 fine, 1 the answer is \"no\" (a failed check, a regression), 2 bad usage or input."};
  app.name("laconic");
  app.require_subcommand(1);
  const Command commands[] = {
      AddMethods(app),
      AddCodec(app), AddCheck(app),
      AddPlan(app),
      AddReport(app),
      AddCompare(app),
      AddBench(app, CommandLine(argc, argv)),
      AddFed(app, CommandLine(argc, argv)),
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {  // CLI11's way out, --help included; its own codes say nothing to a script
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    const absl::StatusOr<Answer> answer = command.run();
    if (answer.ok()) return *answer == Answer::kYes ? 0 : 1;
    std::fprintf(stderr, "laconic %s: %s\n", command.app->get_name().c_str(), answer.status().ToString().c_str());
    return 2;
  }
  return 2;
}

}  // namespace
}  // namespace laconic::tools

int main(int argc, char** argv) { return laconic::tools::Main(argc, argv); }
