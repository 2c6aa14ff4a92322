// The command `laconic`.
#include <cstdio>

#include "CLI/CLI.hpp"
#include "tools/methods.h"

int main(int argc, char** argv) {
  CLI::App app{
      "Laconic: compressed collectives with controlled error compensation.\n\n"
      "A spec says how gradients travel: codec + error control + strategy, for example\n"
      "  topk(ratio=0.01)+econtrol+gather\n"
      "`laconic methods` lists what can stand in one."};
  app.require_subcommand(1);

  CLI::App* methods =
      app.add_subcommand("methods", "List codecs, error controls and strategies, with bytes and memory price");
  bool markdown = false, json = false;
  methods->add_flag("--markdown", markdown, "As the tables in the README");
  methods->add_flag("--json", json, "As one JSON object")->excludes("--markdown");
  CLI11_PARSE(app, argc, argv);

  const laconic::TableFormat format = json       ? laconic::TableFormat::kJson
                                      : markdown ? laconic::TableFormat::kMarkdown
                                                 : laconic::TableFormat::kText;
  std::fputs(laconic::DescribeMethods(format).c_str(), stdout);
  return 0;
}
