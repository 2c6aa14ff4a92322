#include "examples/nn/part_files.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr std::string_view kKind = "laconic samples 1";
constexpr uint32_t kNoClient = 0xffffffff;

std::string PathIn(const std::string& folder) { return folder + "/samples.safetensors"; }

void SaveDataset(const Dataset& data, uint32_t client, uint32_t clients, StateArchive& archive) {
  StateWriter out(&archive);
  out.Text("kind", kKind);
  out.Text("shape", fmt::format("{} {} {}", data.shape.channels, data.shape.height, data.shape.width));
  out.U64("classes", data.classes);
  out.U64("labels_per_sample", data.labels_per_sample);
  out.U64("client", client);
  out.U64("clients", clients);
  out.Floats("inputs", data.values, Shape({data.size(), data.shape.size()}));
  if (data.classes == 0) {
    out.Floats("targets", data.targets);
  } else {
    const std::vector<float> labels(data.labels.begin(), data.labels.end());
    out.Floats("labels", labels, Shape({data.size(), data.labels_per_sample}));
  }
}

absl::StatusOr<ImageShape> ParseShape(const std::string& text) {
  ImageShape shape;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (size_t* side : {&shape.channels, &shape.height, &shape.width}) {
    while (at != end && *at == ' ') ++at;
    const auto [next, error] = std::from_chars(at, end, *side);
    if (error != std::errc() || *side == 0 || *side > (1 << 20)) {
      return absl::DataLossError(fmt::format("\"{}\" is no shape", text));
    }
    at = next;
  }
  return shape;
}

struct LoadedPart {
  Dataset data;
  uint32_t client = 0, clients = 0;
};

absl::StatusOr<LoadedPart> LoadDataset(const StateArchive& archive) {
  const StateReader in(&archive);
  LACONIC_ASSIGN_OR_RETURN(const std::string kind, in.Text("kind"));
  if (kind != kKind) return absl::DataLossError(fmt::format("holds \"{}\", not \"{}\"", kind, kKind));
  LoadedPart part;
  Dataset& data = part.data;
  LACONIC_ASSIGN_OR_RETURN(const std::string shape, in.Text("shape"));
  LACONIC_ASSIGN_OR_RETURN(data.shape, ParseShape(shape));
  LACONIC_ASSIGN_OR_RETURN(data.classes, in.U64("classes"));
  LACONIC_ASSIGN_OR_RETURN(data.labels_per_sample, in.U64("labels_per_sample"));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t client, in.U64("client"));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t clients, in.U64("clients"));
  part.client = static_cast<uint32_t>(client);
  part.clients = static_cast<uint32_t>(clients);
  const bool known_client = client == kNoClient || (client < clients && clients < kNoClient);
  if (!known_client || data.classes > std::numeric_limits<uint16_t>::max() || data.labels_per_sample == 0 ||
      data.labels_per_sample > (1 << 20)) {
    return absl::DataLossError(fmt::format("client {} of {}, {} classes, {} labels a sample", client, clients,
                                           data.classes, data.labels_per_sample));
  }
  LACONIC_ASSIGN_OR_RETURN(const std::span<const float> inputs, in.Floats("inputs"));
  data.values.assign(inputs.begin(), inputs.end());
  size_t samples = 0;
  if (data.classes == 0) {
    LACONIC_ASSIGN_OR_RETURN(const std::span<const float> targets, in.Floats("targets"));
    data.targets.assign(targets.begin(), targets.end());
    samples = data.targets.size();
  } else {
    LACONIC_ASSIGN_OR_RETURN(const std::span<const float> labels, in.Floats("labels"));
    for (const float label : labels) {
      if (!(label >= 0) || label >= static_cast<float>(data.classes) ||
          static_cast<float>(static_cast<uint16_t>(label)) != label) {
        return absl::DataLossError(fmt::format("label {} with {} classes", label, data.classes));
      }
      data.labels.push_back(static_cast<uint16_t>(label));
    }
    samples = labels.size() / data.labels_per_sample;
    if (samples * data.labels_per_sample != labels.size()) samples = 0;
  }
  if (samples == 0 || inputs.size() % samples != 0 || inputs.size() / samples != data.shape.size()) {
    return absl::DataLossError(
        fmt::format("{} inputs of {} features do not fit {} samples", inputs.size(), data.shape.size(), samples));
  }
  return part;
}

absl::StatusOr<LoadedPart> ReadDataset(const std::string& folder) {
  LACONIC_ASSIGN_OR_RETURN(const StateArchive archive, ReadStateFile(PathIn(folder)));
  absl::StatusOr<LoadedPart> part = LoadDataset(archive);
  if (!part.ok()) {
    return absl::DataLossError(fmt::format("{}: {}", PathIn(folder), std::string(part.status().message())));
  }
  return part;
}

// The clients, of whom one has samples.
class OnePart final : public ClientData {
 public:
  explicit OnePart(LoadedPart part) : part_(std::move(part)), format_(FormatOf(part_.data)) {}
  const SampleFormat& format() const override { return format_; }
  uint32_t clients() const override { return part_.clients; }
  size_t samples(uint32_t client) const override { return client == part_.client ? part_.data.size() : 0; }
  std::unique_ptr<Reader> NewReader() const override { return std::make_unique<PartReader>(&part_.data); }

 private:
  class PartReader final : public Reader {
   public:
    explicit PartReader(const Dataset* data) : data_(data) {}
    void Open(uint32_t) override {}
    void Copy(size_t sample, const SampleView& out) override {
      data_->CopySample(sample, out.inputs);
      if (!out.labels.empty()) std::ranges::copy(data_->LabelsOf(sample), out.labels.begin());
      if (!out.targets.empty()) out.targets[0] = data_->targets[sample];
    }

   private:
    const Dataset* data_;
  };

  const LoadedPart part_;
  const SampleFormat format_;
};

}  // namespace

absl::Status WritePart(const std::string& folder, const ClientData& data, uint32_t client) {
  const SampleFormat& format = data.format();
  const size_t samples = data.samples(client), width = format.shape.size(), labels = format.labels_per_sample;
  Dataset part;
  part.shape = format.shape;
  part.classes = format.classes;
  part.labels_per_sample = std::max<size_t>(labels, 1);
  part.values.resize(samples * width);
  part.labels.resize(samples * labels);
  part.targets.resize(samples * format.targets_per_sample());
  const std::unique_ptr<ClientData::Reader> reader = data.NewReader();
  reader->Open(client);
  for (size_t i = 0; i < samples; ++i) {
    reader->Copy(
        i, {.inputs = std::span(part.values).subspan(i * width, width),
            .labels = std::span(part.labels).subspan(i * labels, labels),
            .targets = std::span(part.targets).subspan(i * format.targets_per_sample(), format.targets_per_sample())});
  }
  StateArchive archive;
  SaveDataset(part, client, data.clients(), archive);
  return WriteStateFile(PathIn(folder), archive);
}

absl::StatusOr<Part> ReadPart(const std::string& folder) {
  LACONIC_ASSIGN_OR_RETURN(LoadedPart part, ReadDataset(folder));
  const uint32_t client = part.client;
  return Part{.data = std::make_unique<OnePart>(std::move(part)), .client = client};
}

absl::Status WriteTestPart(const std::string& folder, const Dataset& test) {
  Dataset floats;
  floats.shape = test.shape;
  floats.classes = test.classes;
  floats.labels_per_sample = test.labels_per_sample;
  floats.labels = test.labels;
  floats.targets = test.targets;
  floats.values.resize(test.size() * test.shape.size());
  for (size_t i = 0; i < test.size(); ++i) {
    test.CopySample(i, std::span(floats.values).subspan(i * test.shape.size(), test.shape.size()));
  }
  StateArchive archive;
  SaveDataset(floats, kNoClient, 0, archive);
  return WriteStateFile(PathIn(folder), archive);
}

absl::StatusOr<Dataset> ReadTestPart(const std::string& folder) {
  LACONIC_ASSIGN_OR_RETURN(LoadedPart part, ReadDataset(folder));
  return std::move(part.data);
}

}  // namespace laconic::nn
