// Small texts of the command line: lists of specs, byte and element counts, numbers for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace laconic::tools {

// The specs in "topk(ratio=0.01, values=fp16)+ef,sign+ef": cut at commas outside parentheses, blanks trimmed.
// InvalidArgument for an empty spec or unbalanced parentheses (with its column).
absl::StatusOr<std::vector<std::string>> SplitSpecs(std::string_view text);

// "1K", "64M", "2G", "4096": bytes, suffixes are powers of 1024. "25.6M", "1e6": elements, suffixes are powers of 1000.
// InvalidArgument, starting with `what`, for anything that is not a positive whole number below 2^53.
absl::StatusOr<uint64_t> ParseByteCount(std::string_view what, std::string_view text);
absl::StatusOr<uint64_t> ParseElementCount(std::string_view what, std::string_view text);

// "4096x1024" as dimensions, each at least 1.
absl::StatusOr<std::vector<uint64_t>> ParseDimensions(std::string_view what, std::string_view text);

// Bytes as "1 KiB" where they are whole units of 1024 and "1536" otherwise.
std::string FormatBytes(uint64_t bytes);
// A link rate: "912 Mbit/s", "2.41 Gbit/s".
std::string FormatBitRate(double bits_per_second);

}  // namespace laconic::tools
