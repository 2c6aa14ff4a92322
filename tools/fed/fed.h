// `laconic fed`: its subcommands, each added by a function, as command.h's are.
#pragma once

#include <string>

#include "absl/synchronization/mutex.h"
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

// Abseil as Debian builds it looks for cycles in the order of all locks, gRPC's among them: 5 to 8 % of a server's time.
// For a process that is a server or a client.
inline void IgnoreLockOrder() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

}  // namespace laconic::tools
