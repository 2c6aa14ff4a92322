#include "examples/nn/dataset.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "examples/nn/file_formats.h"
#include "examples/nn/table_data.h"
#include "examples/nn/text.h"
#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr std::string_view kFashionFolder = "/usr/share/datasets/fashion-mnist";
constexpr size_t kTextParts = 64;  // that splits tell apart

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
  return data;
}

// Divides each feature by its largest magnitude in the training set.
void ScaleFeatures(TrainTest& data) {
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

// The mean of each feature over the training set, summed in sample order.
std::vector<float> FeatureMeans(const Dataset& data) {
  const size_t features = data.shape.size();
  std::vector<double> sums(features);
  for (size_t i = 0; i < data.size() * features; ++i) {
    sums[i % features] += data.pixels.empty() ? static_cast<double>(data.values[i]) : data.pixels[i] / 255.0;
  }
  std::vector<float> means(features);
  for (size_t j = 0; j < features; ++j) means[j] = static_cast<float>(sums[j] / static_cast<double>(data.size()));
  return means;
}

void NormalizeData(TrainTest& data, Normalize how) {
  if (data.train.pixels.empty()) {
    if (how != Normalize::kNone) ScaleFeatures(data);
    if (how != Normalize::kMean) return;
    const std::vector<float> means = FeatureMeans(data.train);
    for (Dataset* part : {&data.train, &data.test}) {
      for (size_t i = 0; i < part->values.size(); ++i) part->values[i] -= means[i % means.size()];
    }
    return;
  }
  if (how == Normalize::kUnit) return NormalizePixels(data);
  data.train.means = how == Normalize::kMean ? FeatureMeans(data.train) : std::vector<float>(data.train.shape.size());
  data.test.means = data.train.means;
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
  if (means.empty()) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = levels[from[i]];
    return;
  }
  constexpr float kScale = 1.0f / 255;
  const float* mean = means.data();
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(from[i]) * kScale - mean[i];
}

std::vector<uint16_t> Dataset::Kinds() const {
  if (classes == 0) return std::vector<uint16_t>(size());
  if (labels_per_sample == 1) return labels;
  std::vector<uint16_t> kinds(size());
  for (size_t i = 0; i < kinds.size(); ++i) kinds[i] = static_cast<uint16_t>(i * kTextParts / kinds.size());
  return kinds;
}

absl::StatusOr<Normalize> ParseNormalize(std::string_view text) {
  if (text == "unit") return Normalize::kUnit;
  if (text == "mean") return Normalize::kMean;
  if (text == "none") return Normalize::kNone;
  return absl::InvalidArgumentError(fmt::format("unknown normalisation \"{}\"; known are mean, unit and none", text));
}

absl::StatusOr<TrainTest> LoadData(std::string_view description, const LoadOptions& options) {
  const size_t colon = std::min(description.find(':'), description.size());
  const std::string_view kind = description.substr(0, colon);
  const std::string_view rest = description.substr(std::min(colon + 1, description.size()));
  std::vector<std::string> files = SplitAtCommas(rest);
  if (description == "bible") {
    LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadBible());
    return SplitText(text, options.context, "bible");
  }
  if (kind == "text" && !rest.empty()) {
    LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(std::string(rest)));
    return SplitText(text, options.context, rest);
  }

  absl::StatusOr<TrainTest> data = absl::InvalidArgumentError(
      fmt::format("unknown data \"{}\"; known are fashion-mnist[:FOLDER], idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS], "
                  "csv:TRAIN[,TEST][,label=first|last], libsvm:TRAIN[,TEST], bible and text:FILE",
                  description));
  if (kind == "fashion-mnist") {
    const std::string folder(rest.empty() ? kFashionFolder : rest);
    data = LoadIdx({folder + "/train-images-idx3-ubyte.gz", folder + "/train-labels-idx1-ubyte.gz",
                    folder + "/t10k-images-idx3-ubyte.gz", folder + "/t10k-labels-idx1-ubyte.gz"});
    if (absl::IsNotFound(data.status()) && rest.empty()) {
      return Annotate(data.status(),
                      "Fashion-MNIST is not installed (Debian, Ubuntu: apt install dataset-fashion-mnist)");
    }
  } else if (kind == "idx" && (files.size() == 2 || files.size() == 4)) {
    data = LoadIdx(files);
  } else if (kind == "libsvm" && !rest.empty() && files.size() <= 2) {
    data = LoadLibsvm(files);
  } else if (kind == "csv" && !rest.empty()) {
    LabelColumn label = LabelColumn::kFirst;
    if (files.back() == "label=first" || files.back() == "label=last") {
      if (files.back() == "label=last") label = LabelColumn::kLast;
      files.pop_back();
    }
    if (files.size() == 1 || files.size() == 2) data = LoadCsv(files, label);
  }
  if (data.ok()) NormalizeData(*data, options.normalize);
  return data;
}

}  // namespace laconic::nn
