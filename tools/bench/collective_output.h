// Collective measurements as a table for people and as JSON for `laconic report` and `compare` (docs/bench.md).
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/bench/collective.h"
#include "tools/launch.h"
#include "tools/table.h"

namespace laconic::tools {

std::vector<Column> CollectiveColumns(const CollectiveOptions& options);
std::string CollectiveLine(const std::vector<Column>& columns, const CollectiveRow& row);
std::string MemcpyLine(const std::vector<Column>& columns, const MemcpyRow& row);

nlohmann::ordered_json CollectiveJson(const CollectiveOptions& options, const Launch& launch,
                                      const std::string& command, const std::vector<MemcpyRow>& copies,
                                      const std::vector<CollectiveRow>& rows, const std::vector<SkippedRow>& skipped);

std::string_view PatternName(Pattern pattern);

}  // namespace laconic::tools
