// Tables for a terminal: one line a row, columns aligned, so that they can be read and cut by scripts alike.
#pragma once

#include <string>
#include <vector>

namespace laconic::tools {

struct Column {
  std::string name;
  std::string unit;  // stands below the name; may be empty
  size_t width = 0;  // at least; wider where name, unit or (in FormatTable) a cell is
  bool left = false;
};

// Two lines, names and units, and one line of cells, for tables that are printed as they grow. Columns are two blanks
// apart.
std::string FormatHeader(const std::vector<Column>& columns);
std::string FormatRow(const std::vector<Column>& columns, const std::vector<std::string>& cells);

// The whole table, columns as wide as their widest cell. Every row has one cell for each column.
std::string FormatTable(std::vector<Column> columns, const std::vector<std::vector<std::string>>& rows);

}  // namespace laconic::tools
