#include "examples/nn/file_formats.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <system_error>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

struct GzipCloser {
  void operator()(gzFile_s* file) const { gzclose(file); }
};
using GzipFile = std::unique_ptr<gzFile_s, GzipCloser>;  // reads plain files as they are

absl::StatusOr<GzipFile> Open(const std::string& path) {
  errno = 0;
  GzipFile file(gzopen(path.c_str(), "rb"));
  if (file == nullptr) {
    const std::string message = fmt::format("{}: {}", path, std::generic_category().message(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  return file;
}

// Appends up to `limit` bytes, in chunks, so that memory follows the data and not what a header claims.
absl::Status Append(gzFile_s* file, const std::string& path, uint64_t limit, std::vector<uint8_t>& out) {
  while (limit > 0) {
    const size_t old_size = out.size(), chunk = std::min<uint64_t>(limit, kChunkBytes);
    out.resize(old_size + chunk);
    const int got = gzread(file, out.data() + old_size, static_cast<unsigned>(chunk));
    if (got < 0) {
      int code = 0;
      return absl::DataLossError(fmt::format("{}: {}", path, gzerror(file, &code)));
    }
    out.resize(old_size + static_cast<size_t>(got));
    if (static_cast<size_t>(got) < chunk) break;
    limit -= chunk;
  }
  int code = Z_OK;
  const char* message = gzerror(file, &code);
  if (code != Z_OK) return absl::DataLossError(fmt::format("{}: {}", path, message));  // cut off within a gzip stream
  return absl::OkStatus();
}

// Words of one line, separated by blanks.
std::string_view NextWord(std::string_view& line) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = std::min(line.find_first_not_of(kBlanks), line.size());
  const size_t end = std::min(line.find_first_of(kBlanks, begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

template <typename T>
bool ParseWhole(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// A label: an integer, perhaps with a plus sign or written as 1.0.
bool ParseLabel(std::string_view text, int64_t& label) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  if (!ParseWhole(text, value) || std::floor(value) != value || std::abs(value) > 1e9) return false;
  label = static_cast<int64_t>(value);
  return true;
}

}  // namespace

absl::StatusOr<IdxFile> ReadIdxFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const GzipFile file, Open(path));
  std::vector<uint8_t> header;
  LACONIC_RETURN_IF_ERROR(Append(file.get(), path, 4, header));
  if (header.size() < 4 || header[0] != 0 || header[1] != 0 || header[2] != 8 || header[3] < 1 || header[3] > 4) {
    return absl::DataLossError(
        fmt::format("{}: not an IDX file of bytes (its first bytes must be 00 00 08 and 01 to 04)", path));
  }
  IdxFile idx;
  const size_t count = header[3];
  header.clear();
  LACONIC_RETURN_IF_ERROR(Append(file.get(), path, 4 * count, header));
  if (header.size() < 4 * count) return absl::DataLossError(fmt::format("{}: ends within its header", path));
  uint64_t elements = 1;
  for (size_t i = 0; i < count; ++i) {
    uint64_t dimension = 0;
    for (size_t j = 0; j < 4; ++j) dimension = dimension << 8 | header[4 * i + j];
    idx.dimensions.push_back(dimension);
    if (dimension != 0 && elements > (uint64_t{1} << 40) / dimension) {
      return absl::DataLossError(fmt::format("{}: its header claims more than 2^40 bytes", path));
    }
    elements *= dimension;
  }
  LACONIC_RETURN_IF_ERROR(Append(file.get(), path, elements, idx.bytes));
  if (idx.bytes.size() < elements) {
    return absl::DataLossError(
        fmt::format("{}: ends after {} of the {} bytes its header claims", path, idx.bytes.size(), elements));
  }
  std::vector<uint8_t> rest;
  LACONIC_RETURN_IF_ERROR(Append(file.get(), path, 1, rest));
  if (!rest.empty()) return absl::DataLossError(fmt::format("{}: bytes follow the {} of its header", path, elements));
  return idx;
}

absl::StatusOr<LibsvmFile> ParseLibsvm(std::string_view text, std::string_view name) {
  LibsvmFile file;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    const size_t line_end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(std::min(line_end + 1, text.size()));
    line = line.substr(0, std::min(line.find('#'), line.size()));

    const auto error = [&](std::string_view problem, std::string_view word) {
      return absl::DataLossError(fmt::format("{}:{}: {} \"{}\"", name, line_number, problem, word.substr(0, 40)));
    };
    const std::string_view label_word = NextWord(line);
    if (label_word.empty()) continue;
    int64_t label = 0;
    if (!ParseLabel(label_word, label)) return error("not an integer label:", label_word);

    uint32_t previous = 0;
    for (std::string_view word = NextWord(line); !word.empty(); word = NextWord(line)) {
      const size_t colon = word.find(':');
      uint32_t index = 0;
      float value = 0;
      if (colon == std::string_view::npos || !ParseWhole(word.substr(0, colon), index) ||
          !ParseWhole(word.substr(colon + 1), value) || !std::isfinite(value)) {
        return error("not index:value with a finite value:", word);
      }
      if (index <= previous) return error("indices must start at 1 and ascend:", word);
      if (index > kMaxLibsvmIndex) return error(fmt::format("index above {}:", kMaxLibsvmIndex), word);
      previous = index;
      file.indices.push_back(index - 1);
      file.values.push_back(value);
    }
    file.labels.push_back(label);
    file.row_begin.push_back(file.indices.size());
  }
  return file;
}

absl::StatusOr<LibsvmFile> ReadLibsvmFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  return ParseLibsvm(text, path);
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const GzipFile file, Open(path));
  std::vector<uint8_t> bytes;
  LACONIC_RETURN_IF_ERROR(Append(file.get(), path, ~uint64_t{0}, bytes));
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace laconic::nn
