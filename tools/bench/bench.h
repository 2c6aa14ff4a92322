// The subcommands of `laconic bench`. Each adds itself to the command `bench`.
#pragma once

#include <string>

#include "tools/bench/collective.h"
#include "tools/command.h"

namespace laconic::tools {

Command AddCollectiveBench(CLI::App& bench, Pattern pattern, const std::string& command_line);
Command AddCodecBench(CLI::App& bench, const std::string& command_line);

}  // namespace laconic::tools
