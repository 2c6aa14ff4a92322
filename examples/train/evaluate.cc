#include "examples/train/evaluate.h"

#include <algorithm>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic::train {
namespace {

// What every rank has, in rank order.
template <typename T>
absl::StatusOr<std::vector<T>> GatherOne(Communicator& comm, const T& own) {
  std::vector<T> all(comm.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all))));
  return all;
}

}  // namespace

absl::StatusOr<TestFigures> EvaluateOn(const nn::Dataset& test, size_t rows, nn::Model& model, Communicator& comm) {
  const size_t begin = test.size() * comm.rank() / comm.size(), end = test.size() * (comm.rank() + 1) / comm.size();
  const size_t width = test.shape.size(), labels = test.labels_per_sample;
  std::vector<float> inputs(rows * width);
  nn::Score own;
  for (size_t first = begin; first < end; first += rows) {
    const size_t count = std::min(rows, end - first);
    for (size_t i = 0; i < count; ++i) test.CopySample(first + i, std::span(inputs).subspan(i * width, width));
    const nn::Score score = model.Evaluate(
        {std::span(inputs).first(count * width), std::span(test.labels).subspan(first * labels, count * labels)});
    own.correct += score.correct;
    own.loss += score.loss;
  }
  LACONIC_ASSIGN_OR_RETURN(const std::vector<nn::Score> all, GatherOne(comm, own));
  TestFigures figures;
  for (const nn::Score& score : all) {
    figures.accuracy += static_cast<double>(score.correct);
    figures.loss += score.loss;
  }
  const double predictions = static_cast<double>(test.labels.size());
  return TestFigures{figures.accuracy / predictions, figures.loss / predictions};
}

absl::StatusOr<uint64_t> AgreedWeightHash(Communicator& comm, std::span<const float> weights) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint64_t> all, GatherOne(comm, Hash64(std::as_bytes(weights))));
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      return absl::InternalError(
          fmt::format("weights differ: rank 0 has hash {:016x}, rank {} has {:016x}", all[0], rank, all[rank]));
    }
  }
  return all[0];
}

}  // namespace laconic::train
