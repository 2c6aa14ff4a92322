#include "examples/nn/table_data.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

#include "examples/nn/file_formats.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr size_t kHeldOut = 7;                           // without test files, one sample in this many
constexpr uint64_t kMaxDenseValues = uint64_t{1} << 30;  // 4 GiB of floats

template <typename Map>
absl::Status NumberClasses(Map& class_of, const std::string& path) {
  if (class_of.size() > std::numeric_limits<uint16_t>::max()) {
    return absl::DataLossError(fmt::format("{}: {} different labels are too many", path, class_of.size()));
  }
  uint16_t next = 0;
  for (auto& entry : class_of) entry.second = next++;
  return absl::OkStatus();
}

absl::StatusOr<Dataset> Densify(const LibsvmFile& file, const std::map<int64_t, uint16_t>& class_of, size_t features,
                                const std::string& path) {
  if (file.labels.empty()) return absl::DataLossError(fmt::format("{}: no samples", path));
  if (features > kMaxDenseValues / file.labels.size()) {
    return absl::ResourceExhaustedError(
        fmt::format("{}: {} samples of {} features; this example keeps them as dense "
                    "arrays of at most {} numbers",
                    path, file.labels.size(), features, kMaxDenseValues));
  }
  Dataset data;
  data.shape = {1, 1, features};
  data.classes = class_of.size();
  data.values.resize(file.labels.size() * features);
  for (size_t row = 0; row < file.labels.size(); ++row) {
    data.labels.push_back(class_of.at(file.labels[row]));
    for (size_t i = file.row_begin[row]; i < file.row_begin[row + 1]; ++i) {
      data.values[row * features + file.indices[i]] = file.values[i];
    }
  }
  return data;
}

// A label as an integer, perhaps written as 1.0.
bool ParseInteger(const std::string& text, int64_t& value) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !(number >= -1e9 && number <= 1e9)) return false;
  value = static_cast<int64_t>(number);
  return static_cast<double>(value) == number;
}

// The order of classes: integers by value, before other texts.
struct LabelOrder {
  bool operator()(const std::string& a, const std::string& b) const {
    int64_t x = 0, y = 0;
    const bool a_integer = ParseInteger(a, x), b_integer = ParseInteger(b, y);
    if (a_integer && b_integer) return x < y;
    return a_integer != b_integer ? a_integer : a < b;
  }
};

}  // namespace

absl::StatusOr<Dataset> HoldOut(Dataset& train, const std::string& path) {
  if (train.size() < kHeldOut) {
    return absl::DataLossError(
        fmt::format("{}: {} samples are too few to hold out one in {} for testing", path, train.size(), kHeldOut));
  }
  Dataset kept, test;
  for (Dataset* part : {&kept, &test}) part->shape = train.shape, part->classes = train.classes;
  const size_t width = train.shape.size();
  for (size_t i = 0; i < train.size(); ++i) {
    Dataset& to = i % kHeldOut == kHeldOut - 1 ? test : kept;
    to.labels.push_back(train.labels[i]);
    if (!train.pixels.empty()) {
      to.pixels.insert(to.pixels.end(), train.pixels.begin() + i * width, train.pixels.begin() + (i + 1) * width);
    } else {
      to.values.insert(to.values.end(), train.values.begin() + i * width, train.values.begin() + (i + 1) * width);
    }
  }
  train = std::move(kept);
  return test;
}

absl::StatusOr<TrainTest> LoadLibsvm(const std::vector<std::string>& paths) {
  std::vector<LibsvmFile> files;
  std::map<int64_t, uint16_t> class_of;
  size_t features = 1;
  for (const std::string& path : paths) {
    LACONIC_ASSIGN_OR_RETURN(LibsvmFile file, ReadLibsvmFile(path));
    for (const int64_t label : file.labels) class_of[label] = 0;
    for (const uint32_t index : file.indices) features = std::max<size_t>(features, index + 1);
    files.push_back(std::move(file));
  }
  LACONIC_RETURN_IF_ERROR(NumberClasses(class_of, paths[0]));

  TrainTest data;
  LACONIC_ASSIGN_OR_RETURN(data.train, Densify(files[0], class_of, features, paths[0]));
  if (paths.size() == 2) {
    LACONIC_ASSIGN_OR_RETURN(data.test, Densify(files[1], class_of, features, paths[1]));
  } else {
    LACONIC_ASSIGN_OR_RETURN(data.test, HoldOut(data.train, paths[0]));
  }
  return data;
}

absl::StatusOr<TrainTest> LoadCsv(const std::vector<std::string>& paths, LabelColumn label) {
  std::vector<CsvFile> files;
  std::map<std::string, uint16_t, LabelOrder> class_of;
  for (const std::string& path : paths) {
    LACONIC_ASSIGN_OR_RETURN(CsvFile file, ReadCsvFile(path, label));
    if (!files.empty() && file.features != files[0].features) {
      return absl::DataLossError(
          fmt::format("{} has {} features a line and {} has {}", paths[0], files[0].features, path, file.features));
    }
    for (const std::string& text : file.labels) class_of[text] = 0;
    files.push_back(std::move(file));
  }
  LACONIC_RETURN_IF_ERROR(NumberClasses(class_of, paths[0]));

  TrainTest data;
  Dataset* const parts[] = {&data.train, &data.test};
  for (size_t i = 0; i < files.size(); ++i) {
    parts[i]->shape = {1, 1, files[i].features};
    parts[i]->classes = class_of.size();
    for (const std::string& text : files[i].labels) parts[i]->labels.push_back(class_of.at(text));
    parts[i]->values = std::move(files[i].values);
  }
  if (files.size() == 1) {
    LACONIC_ASSIGN_OR_RETURN(data.test, HoldOut(data.train, paths[0]));
  }
  return data;
}

}  // namespace laconic::nn
