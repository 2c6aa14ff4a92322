// `laconic fed`: its subcommands, each added by a function, as command.h's are.
#pragma once

#include <string>

#include "tools/command.h"

namespace laconic::tools {

Command AddFedRun(CLI::App& fed, const std::string& command_line);
Command AddFedRerun(CLI::App& fed);
Command AddFedResume(CLI::App& fed);
Command AddFedSplit(CLI::App& fed);
// In builds with the parameter server.
Command AddFedCerts(CLI::App& fed);
Command AddFedServe(CLI::App& fed, const std::string& command_line);
Command AddFedClient(CLI::App& fed);
Command AddFedAudit(CLI::App& fed);

}  // namespace laconic::tools
