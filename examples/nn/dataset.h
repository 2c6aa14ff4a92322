// Labelled samples in memory, from IDX files (the format of MNIST and its relatives, plain or gzip), LIBSVM texts and
// plain texts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/nn/layers.h"

namespace laconic::nn {

// Immutable once loaded, so ranks that are threads share one. Images are kept as bytes and become floats when copied.
class Dataset {
 public:
  ImageShape shape;              // of one sample; a plain vector of n is 1 x 1 x n
  size_t classes = 0;            // labels are below this; 0: there are targets
  size_t labels_per_sample = 1;  // a text has one for each of its characters
  std::vector<uint16_t> labels;  // samples x labels_per_sample
  std::vector<float> targets;    // where classes = 0: the number to predict of each sample, instead of labels
  std::vector<uint8_t> pixels;   // samples x shape.size(), or empty
  // What a byte stands for: levels[byte]; where there are `means`, byte / 255 - means[feature], which is faster.
  std::array<float, 256> levels{};
  std::vector<float> means;   // shape.size(), or empty
  std::vector<float> values;  // samples x shape.size(), where `pixels` is empty

  size_t size() const { return classes == 0 ? targets.size() : labels.size() / labels_per_sample; }
  // out: shape.size() floats.
  void CopySample(size_t sample, std::span<float> out) const;
  std::span<const uint16_t> LabelsOf(size_t sample) const {
    return std::span(labels).subspan(sample * labels_per_sample, labels_per_sample);
  }
  // What kind of sample each is, for splits among ranks: its label; of a text, which of 64 equal parts it lies in; 0
  // where there are targets.
  std::vector<uint16_t> Kinds() const;
};

struct TrainTest {
  Dataset train, test;
};

// What is done to features, always by figures of the training set.
enum class Normalize {
  kUnit,  // pixels: to mean 0 and variance 1 over all of them; others: divided by the feature's largest magnitude
  kMean,  // pixels / 255, others divided by the feature's largest magnitude; then less the feature's mean
  kNone,  // pixels / 255, others as they are
};
absl::StatusOr<Normalize> ParseNormalize(std::string_view text);  // unit | mean | none

struct LoadOptions {
  size_t context = 64;  // characters of a sample of text
  Normalize normalize = Normalize::kUnit;
};

// What --data says:
//   fashion-mnist[:FOLDER]   the four .gz files, by default from /usr/share/datasets/fashion-mnist
//   idx:images,labels[,test_images,test_labels]
//   csv:train[,test][,label=first|last]   numbers and a label (first), with or without a header line
//   libsvm:train[,test]      "label index:value ..." lines, indices from 1, ascending
//   bible | text:FILE        characters (text.h), `context` of them a sample; they are not normalised
// Without test files every seventh sample is held out, of a text every 40th. Labels of tables, integers or words,
// become classes in ascending order. Errors: NotFound naming the file (and the package to install); DataLoss naming
// file and position for anything malformed; InvalidArgument for a description that is none of these.
absl::StatusOr<TrainTest> LoadData(std::string_view description, const LoadOptions& options = {});

}  // namespace laconic::nn
