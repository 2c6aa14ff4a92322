#include "examples/nn/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "examples/nn/file_formats.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  text = text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

// The next line without its end, taken off the front of `text`.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

void SplitFields(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  while (true) {
    const size_t comma = line.find(',');
    fields.push_back(Trim(line.substr(0, comma)));
    if (comma == std::string_view::npos) return;
    line.remove_prefix(comma + 1);
  }
}

bool ParseNumber(std::string_view text, float& value) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

}  // namespace

absl::StatusOr<CsvFile> ParseCsv(std::string_view text, std::string_view name, LabelColumn label) {
  CsvFile file;
  std::vector<std::string_view> fields;
  bool first = true;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const std::string_view line = TakeLine(text);
    if (Trim(line).empty()) continue;
    SplitFields(line, fields);
    if (first) {
      if (fields.size() < 2) {
        return absl::DataLossError(
            fmt::format("{}:{}: one column; a label and at least one feature are needed", name, line_number));
      }
      file.features = fields.size() - 1;
    } else if (fields.size() != file.features + 1) {
      return absl::DataLossError(
          fmt::format("{}:{}: {} columns, the first line has {}", name, line_number, fields.size(), file.features + 1));
    }
    const size_t label_column = label == LabelColumn::kFirst ? 0 : file.features;
    const size_t begin = file.values.size();
    bool header = false;
    for (size_t column = 0; column < fields.size(); ++column) {
      if (column == label_column) continue;
      float value = 0;
      if (!ParseNumber(fields[column], value)) {
        if (first) {
          header = true;
          break;
        }
        return absl::DataLossError(fmt::format("{}:{}: column {} is no finite number: \"{}\"", name, line_number,
                                               column + 1, fields[column].substr(0, 40)));
      }
      file.values.push_back(value);
    }
    first = false;
    if (header) {
      file.values.resize(begin);
      continue;
    }
    if (fields[label_column].empty()) {
      return absl::DataLossError(
          fmt::format("{}:{}: column {}, the label, is empty", name, line_number, label_column + 1));
    }
    file.labels.emplace_back(fields[label_column]);
  }
  if (file.labels.empty()) return absl::DataLossError(fmt::format("{}: no samples", name));
  return file;
}

absl::StatusOr<CsvFile> ReadCsvFile(const std::string& path, LabelColumn label) {
  LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  return ParseCsv(text, path, label);
}

}  // namespace laconic::nn
