#include "examples/train/evaluate.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic::train {
namespace {

absl::StatusOr<std::vector<uint64_t>> GatherNumber(Communicator& comm, uint64_t own) {
  std::vector<uint64_t> all(comm.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all))));
  return all;
}

}  // namespace

absl::StatusOr<double> TestAccuracy(Communicator& comm, nn::Model& model, const nn::Dataset& test, size_t rows) {
  const size_t begin = test.size() * comm.rank() / comm.size(), end = test.size() * (comm.rank() + 1) / comm.size();
  const size_t width = test.shape.size();
  std::vector<float> inputs(rows * width);
  uint64_t correct = 0;
  for (size_t first = begin; first < end; first += rows) {
    const size_t count = std::min(rows, end - first);
    for (size_t i = 0; i < count; ++i) test.CopySample(first + i, std::span(inputs).subspan(i * width, width));
    correct +=
        model.CountCorrect({std::span(inputs).first(count * width), std::span(test.labels).subspan(first, count)});
  }
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint64_t> all, GatherNumber(comm, correct));
  return static_cast<double>(std::accumulate(all.begin(), all.end(), uint64_t{0})) / static_cast<double>(test.size());
}

absl::StatusOr<uint64_t> AgreedWeightHash(Communicator& comm, std::span<const float> weights) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<uint64_t> all, GatherNumber(comm, Hash64(std::as_bytes(weights))));
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] != all[0]) {
      return absl::InternalError(
          fmt::format("weights differ: rank 0 has hash {:016x}, rank {} has {:016x}", all[0], rank, all[rank]));
    }
  }
  return all[0];
}

}  // namespace laconic::train
