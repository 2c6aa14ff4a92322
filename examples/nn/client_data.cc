#include "examples/nn/client_data.h"

#include <algorithm>

#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

class SplitData final : public ClientData {
 public:
  SplitData(const Dataset* data, std::vector<std::vector<uint32_t>> parts)
      : data_(data), format_(FormatOf(*data)), parts_(std::move(parts)) {}

  const SampleFormat& format() const override { return format_; }
  uint32_t clients() const override { return static_cast<uint32_t>(parts_.size()); }
  size_t samples(uint32_t client) const override { return client < parts_.size() ? parts_[client].size() : 0; }
  std::unique_ptr<Reader> NewReader() const override { return std::make_unique<SplitReader>(this); }

 private:
  class SplitReader final : public Reader {
   public:
    explicit SplitReader(const SplitData* owner) : owner_(owner) {}
    void Open(uint32_t client) override { part_ = owner_->parts_[client]; }
    void Copy(size_t sample, const SampleView& out) override {
      const Dataset& data = *owner_->data_;
      data.CopySample(part_[sample], out.inputs);
      if (!out.labels.empty()) std::ranges::copy(data.LabelsOf(part_[sample]), out.labels.begin());
      if (!out.targets.empty()) out.targets[0] = data.targets[part_[sample]];
    }

   private:
    const SplitData* owner_;
    std::span<const uint32_t> part_;
  };

  const Dataset* data_;
  const SampleFormat format_;
  const std::vector<std::vector<uint32_t>> parts_;
};

}  // namespace

SampleFormat FormatOf(const Dataset& data) {
  return {.shape = data.shape,
          .classes = data.classes,
          .labels_per_sample = data.classes == 0 ? 0 : data.labels_per_sample};
}

absl::StatusOr<std::unique_ptr<ClientData>> SplitAmongClients(const Dataset* data, const Split& split, uint32_t clients,
                                                              uint64_t seed) {
  LACONIC_ASSIGN_OR_RETURN(std::vector<std::vector<uint32_t>> parts,
                           Partition(data->Kinds(), split, static_cast<int>(clients), seed));
  return std::make_unique<SplitData>(data, std::move(parts));
}

std::vector<uint64_t> ClassCounts(const ClientData& data, uint32_t client) {
  const SampleFormat& format = data.format();
  const size_t samples = data.samples(client);
  if (format.labels_per_sample != 1) return {samples};
  std::vector<uint64_t> counts(format.classes);
  if (samples == 0) return counts;
  std::vector<float> inputs(format.shape.size());
  uint16_t label = 0;
  const std::unique_ptr<ClientData::Reader> reader = data.NewReader();
  reader->Open(client);
  for (size_t i = 0; i < samples; ++i) {
    reader->Copy(i, {.inputs = inputs, .labels = std::span(&label, 1)});
    ++counts[label];
  }
  return counts;
}

}  // namespace laconic::nn
