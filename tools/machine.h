// What a measurement was taken on, as every JSON file of `laconic bench` says it.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace laconic::tools {

// {"cpu", "cores", "memory_bytes", "kernel", "compiler", "kernels", "laconic"}; texts that the system does not give are
// "unknown".
nlohmann::ordered_json DescribeMachine();

// Now, as 2026-11-21T15:00:00Z.
std::string UtcNow();

}  // namespace laconic::tools
