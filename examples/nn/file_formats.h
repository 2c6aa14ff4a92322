// Readers of the file formats. Files are untrusted: any bytes give a value or an error, in memory proportional to
// them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::nn {

// An IDX file of unsigned bytes: 00 00 08 <dimensions>, each dimension as four bytes, most significant first, then the
// data.
struct IdxFile {
  std::vector<uint64_t> dimensions;
  std::vector<uint8_t> bytes;  // as many as the product of the dimensions
};
// Reads a plain or gzip file. NotFound; DataLoss when it is not exactly one IDX file of 1 to 4 dimensions.
absl::StatusOr<IdxFile> ReadIdxFile(const std::string& path);

// The samples of a LIBSVM text in compressed rows.
struct LibsvmFile {
  std::vector<int64_t> labels;
  std::vector<size_t> row_begin = {0};  // entries of row i: [row_begin[i], row_begin[i + 1])
  std::vector<uint32_t> indices;        // from 0
  std::vector<float> values;
};
inline constexpr uint32_t kMaxLibsvmIndex = 1 << 24;
// Blank lines and comments after # are skipped. NotFound; DataLoss naming the line.
absl::StatusOr<LibsvmFile> ReadLibsvmFile(const std::string& path);
// The same from text; `name` is for messages.
absl::StatusOr<LibsvmFile> ParseLibsvm(std::string_view text, std::string_view name);

// A plain or gzip file as it is. NotFound; DataLoss when it does not unpack.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace laconic::nn
