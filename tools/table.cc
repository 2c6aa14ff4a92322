#include "tools/table.h"

#include <algorithm>

#include "fmt/format.h"

namespace laconic::tools {

std::string FormatRow(const std::vector<Column>& columns, const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < columns.size(); ++i) {
    const size_t width = std::max({columns[i].width, columns[i].name.size(), columns[i].unit.size()});
    line += i > 0 ? "  " : "";
    line += columns[i].left ? fmt::format("{:<{}}", cells[i], width) : fmt::format("{:>{}}", cells[i], width);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string FormatHeader(const std::vector<Column>& columns) {
  std::vector<std::string> names, units;
  for (const Column& column : columns) names.push_back(column.name), units.push_back(column.unit);
  return FormatRow(columns, names) + FormatRow(columns, units);
}

std::string FormatTable(std::vector<Column> columns, const std::vector<std::vector<std::string>>& rows) {
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < columns.size(); ++i) columns[i].width = std::max(columns[i].width, row[i].size());
  }
  std::string text = FormatHeader(columns);
  for (const std::vector<std::string>& row : rows) text += FormatRow(columns, row);
  return text;
}

}  // namespace laconic::tools
