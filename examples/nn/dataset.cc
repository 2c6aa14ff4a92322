#include "examples/nn/dataset.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <map>

#include "examples/nn/file_formats.h"
#include "examples/nn/text.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr std::string_view kFashionFolder = "/usr/share/datasets/fashion-mnist";
constexpr size_t kHeldOut = 7;                           // without test files, one sample in this many
constexpr size_t kTextParts = 64;                        // that splits tell apart
constexpr uint64_t kMaxDenseValues = uint64_t{1} << 30;  // 4 GiB of floats

absl::StatusOr<Dataset> LoadImages(const std::string& image_path, const std::string& label_path) {
  LACONIC_ASSIGN_OR_RETURN(IdxFile images, ReadIdxFile(image_path));
  LACONIC_ASSIGN_OR_RETURN(const IdxFile labels, ReadIdxFile(label_path));
  if (labels.dimensions.size() != 1) {
    return absl::DataLossError(fmt::format("{}: {} dimensions; labels have 1", label_path, labels.dimensions.size()));
  }
  const std::vector<uint64_t>& d = images.dimensions;
  if (d[0] != labels.dimensions[0]) {
    return absl::DataLossError(
        fmt::format("{} holds {} images and {} {} labels", image_path, d[0], label_path, labels.dimensions[0]));
  }
  if (images.bytes.empty()) return absl::DataLossError(fmt::format("{}: no images", image_path));
  Dataset data;
  data.shape = {d.size() == 4 ? d[1] : 1, d.size() >= 3 ? d[d.size() - 2] : 1, d.size() >= 2 ? d.back() : 1};
  data.pixels = std::move(images.bytes);
  data.labels.assign(labels.bytes.begin(), labels.bytes.end());
  data.classes = *std::max_element(data.labels.begin(), data.labels.end()) + size_t{1};
  return data;
}

// Moves every kHeldOut-th sample into a test set.
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

// Byte values become (value - mean) / deviation, from an exact histogram of the training set.
void NormalizePixels(TrainTest& data) {
  std::array<uint64_t, 256> histogram{};
  for (const uint8_t pixel : data.train.pixels) ++histogram[pixel];
  const double count = static_cast<double>(data.train.pixels.size());
  double mean = 0, square = 0;
  for (size_t level = 0; level < 256; ++level) {
    mean += static_cast<double>(histogram[level]) * static_cast<double>(level);
    square += static_cast<double>(histogram[level]) * static_cast<double>(level * level);
  }
  mean /= count;
  const double deviation = std::sqrt(std::max(square / count - mean * mean, 1e-12));
  for (size_t level = 0; level < 256; ++level) {
    data.train.levels[level] = static_cast<float>((static_cast<double>(level) - mean) / deviation);
  }
  data.test.levels = data.train.levels;
}

absl::StatusOr<TrainTest> LoadIdx(const std::vector<std::string>& files) {
  TrainTest data;
  LACONIC_ASSIGN_OR_RETURN(data.train, LoadImages(files[0], files[1]));
  if (files.size() == 4) {
    LACONIC_ASSIGN_OR_RETURN(data.test, LoadImages(files[2], files[3]));
    if (data.test.shape != data.train.shape) {
      return absl::DataLossError(fmt::format("{} and {}: images of different shapes", files[0], files[2]));
    }
  } else {
    LACONIC_ASSIGN_OR_RETURN(data.test, HoldOut(data.train, files[0]));
  }
  data.train.classes = data.test.classes = std::max(data.train.classes, data.test.classes);
  NormalizePixels(data);
  return data;
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

// Divides each feature by its largest magnitude in the training set.
void NormalizeFeatures(TrainTest& data) {
  const size_t features = data.train.shape.size();
  std::vector<float> largest(features);
  for (size_t i = 0; i < data.train.values.size(); ++i) {
    largest[i % features] = std::max(largest[i % features], std::abs(data.train.values[i]));
  }
  for (Dataset* part : {&data.train, &data.test}) {
    for (size_t i = 0; i < part->values.size(); ++i) {
      if (largest[i % features] > 0) part->values[i] /= largest[i % features];
    }
  }
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
  if (class_of.size() > std::numeric_limits<uint16_t>::max()) {
    return absl::DataLossError(fmt::format("{}: {} different labels are too many", paths[0], class_of.size()));
  }
  uint16_t next_class = 0;
  for (auto& [label, index] : class_of) index = next_class++;

  TrainTest data;
  LACONIC_ASSIGN_OR_RETURN(data.train, Densify(files[0], class_of, features, paths[0]));
  if (paths.size() == 2) {
    LACONIC_ASSIGN_OR_RETURN(data.test, Densify(files[1], class_of, features, paths[1]));
  } else {
    LACONIC_ASSIGN_OR_RETURN(data.test, HoldOut(data.train, paths[0]));
  }
  NormalizeFeatures(data);
  return data;
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

void Dataset::CopySample(size_t sample, std::span<float> out) const {
  assert(sample < size() && out.size() == shape.size());
  if (pixels.empty()) {
    std::copy_n(values.begin() + sample * out.size(), out.size(), out.begin());
    return;
  }
  const uint8_t* from = pixels.data() + sample * out.size();
  for (size_t i = 0; i < out.size(); ++i) out[i] = levels[from[i]];
}

std::vector<uint16_t> Dataset::Kinds() const {
  if (labels_per_sample == 1) return labels;
  std::vector<uint16_t> kinds(size());
  for (size_t i = 0; i < kinds.size(); ++i) kinds[i] = static_cast<uint16_t>(i * kTextParts / kinds.size());
  return kinds;
}

absl::StatusOr<TrainTest> LoadData(std::string_view description, size_t context) {
  const size_t colon = std::min(description.find(':'), description.size());
  const std::string_view kind = description.substr(0, colon);
  const std::string_view rest = description.substr(std::min(colon + 1, description.size()));
  const std::vector<std::string> files = SplitAtCommas(rest);
  if (kind == "fashion-mnist") {
    const std::string folder(rest.empty() ? kFashionFolder : rest);
    absl::StatusOr<TrainTest> data =
        LoadIdx({folder + "/train-images-idx3-ubyte.gz", folder + "/train-labels-idx1-ubyte.gz",
                 folder + "/t10k-images-idx3-ubyte.gz", folder + "/t10k-labels-idx1-ubyte.gz"});
    if (absl::IsNotFound(data.status()) && rest.empty()) {
      return Annotate(data.status(),
                      "Fashion-MNIST is not installed (Debian, Ubuntu: apt install dataset-fashion-mnist)");
    }
    return data;
  }
  if (kind == "idx" && (files.size() == 2 || files.size() == 4)) return LoadIdx(files);
  if (kind == "libsvm" && !rest.empty() && files.size() <= 2) return LoadLibsvm(files);
  if (description == "bible") {
    LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadBible());
    return SplitText(text, context, "bible");
  }
  if (kind == "text" && !rest.empty()) {
    LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(std::string(rest)));
    return SplitText(text, context, rest);
  }
  return absl::InvalidArgumentError(
      fmt::format("unknown data \"{}\"; known are fashion-mnist[:FOLDER], idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS], "
                  "libsvm:TRAIN[,TEST], bible and text:FILE",
                  description));
}

}  // namespace laconic::nn
