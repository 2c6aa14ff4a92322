// The samples of federated learning's clients, wherever they come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/nn/dataset.h"
#include "examples/nn/layers.h"
#include "examples/nn/sampling.h"

namespace laconic::nn {

// What is alike for all samples.
struct SampleFormat {
  ImageShape shape;
  size_t classes = 0;            // 0: samples have a real number to predict instead of a class
  size_t labels_per_sample = 1;  // 0 where classes = 0
  size_t targets_per_sample() const { return classes == 0 ? 1 : 0; }
};

// Where one sample goes: shape.size(), labels_per_sample and targets_per_sample() numbers.
struct SampleView {
  std::span<float> inputs;
  std::span<uint16_t> labels;
  std::span<float> targets;
};

// Immutable and so thread-safe; readers are for one thread each.
class ClientData {
 public:
  // Looks at one client at a time; what depends on the client alone is worked out once.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void Open(uint32_t client) = 0;  // samples(client) > 0
    // sample: below samples() of the client opened last.
    virtual void Copy(size_t sample, const SampleView& out) = 0;
  };

  virtual ~ClientData() = default;
  virtual const SampleFormat& format() const = 0;
  virtual uint32_t clients() const = 0;               // N
  virtual size_t samples(uint32_t client) const = 0;  // 0: its data is not here
  virtual std::unique_ptr<Reader> NewReader() const = 0;
};

// A data set divided among clients.   data: must outlive it.
absl::StatusOr<std::unique_ptr<ClientData>> SplitAmongClients(const Dataset* data, const Split& split, uint32_t clients,
                                                              uint64_t seed);

// How many samples of each class a client has; for regression, and for text, the number of its samples alone.
std::vector<uint64_t> ClassCounts(const ClientData& data, uint32_t client);

SampleFormat FormatOf(const Dataset& data);

}  // namespace laconic::nn
