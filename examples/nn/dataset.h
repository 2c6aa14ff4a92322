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
  ImageShape shape;                 // of one sample; a plain vector of n is 1 x 1 x n
  size_t classes = 0;               // labels are below this
  size_t labels_per_sample = 1;     // a text has one for each of its characters
  std::vector<uint16_t> labels;     // samples x labels_per_sample
  std::vector<uint8_t> pixels;      // samples x shape.size(), or empty
  std::array<float, 256> levels{};  // what each byte value stands for
  std::vector<float> values;        // samples x shape.size(), where `pixels` is empty

  size_t size() const { return labels.size() / labels_per_sample; }
  // out: shape.size() floats.
  void CopySample(size_t sample, std::span<float> out) const;
  std::span<const uint16_t> LabelsOf(size_t sample) const {
    return std::span(labels).subspan(sample * labels_per_sample, labels_per_sample);
  }
  // What kind of sample each is, for splits among ranks: its label; of a text, which of 64 equal parts it lies in.
  std::vector<uint16_t> Kinds() const;
};

struct TrainTest {
  Dataset train, test;
};

// What --data says:
//   fashion-mnist[:FOLDER]   the four .gz files, by default from /usr/share/datasets/fashion-mnist
//   idx:images,labels[,test_images,test_labels]
//   libsvm:train[,test]      "label index:value ..." lines, indices from 1, ascending
//   bible | text:FILE        characters (text.h), `context` of them a sample
// Without test files every seventh sample is held out, of a text every 40th. Pixels are shifted and scaled to mean 0
// and variance 1 over the training set; LIBSVM features are divided by their largest magnitude in it, and their labels,
// any integers, become classes in ascending order. Errors: NotFound naming the file (and the package to install);
// DataLoss naming file and position for anything malformed; InvalidArgument for a description that is none of these.
absl::StatusOr<TrainTest> LoadData(std::string_view description, size_t context = 64);

}  // namespace laconic::nn
