#include "examples/nn/generated_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "fmt/format.h"
#include "laconic/base/rng.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"

namespace laconic::nn {
namespace {

using Kind = GeneratorOptions::Kind;

// Streams of random numbers.
constexpr uint32_t kSharedModel = 0x6d61;
constexpr uint32_t kClientModel = 0x6d62;
constexpr uint32_t kFrequencies = 0x6d63;
constexpr uint32_t kSamples = 0x6d64;

constexpr double kMargin = 4;          // standard deviation of w . x for classes: the best accuracy is near 0.9
constexpr double kSecondClass = -3.5;  // what is added to it for sparse-binary

constexpr std::string_view kNames[] = {"least-squares", "logistic", "sparse-binary"};

// Draws in order from one stream.
class Draws {
 public:
  explicit Draws(const RngKey& key) : rng_(key) {}
  // On (0, 1).
  double Uniform() {
    if (next_ == words_.size()) words_ = rng_.Block(block_++), next_ = 0;
    return (static_cast<double>(words_[next_++]) + 0.5) * 0x1p-32;
  }
  // Box-Muller, both of a pair.
  double Normal() {
    if (have_spare_) {
      have_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2 * std::log(Uniform())), angle = 2 * std::numbers::pi * Uniform();
    spare_ = radius * std::sin(angle);
    have_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  const CounterRng rng_;
  std::array<uint32_t, 4> words_{};
  size_t next_ = 4;
  uint64_t block_ = 0;
  double spare_ = 0;
  bool have_spare_ = false;
};

class GeneratedClients final : public ClientData {
 public:
  GeneratedClients(const GeneratorOptions& options, uint32_t clients, uint64_t seed)
      : options_(options), clients_(clients), seed_(seed), model_(options.features) {
    format_.shape = {1, 1, options.features};
    if (options.kind == Kind::kLeastSquares) {
      format_.classes = format_.labels_per_sample = 0;
    } else {
      format_.classes = 2;
    }
    Draws draws({.seed = seed, .rank = RngKey::kSharedRank, .stream = kSharedModel});
    for (float& weight : model_) weight = static_cast<float>(Scale() * draws.Normal());
    if (options.kind == Kind::kSparseBinary) CenterGroups();
  }

  const SampleFormat& format() const override { return format_; }
  uint32_t clients() const override { return clients_; }
  size_t samples(uint32_t client) const override { return client < clients_ ? options_.samples : 0; }
  std::unique_ptr<Reader> NewReader() const override { return std::make_unique<ModelReader>(this); }

 private:
  size_t GroupBegin(size_t group) const { return options_.features * group / options_.ones; }

  // Takes off each group's mean weight, by how often its features occur, so that w . x has mean 0.
  void CenterGroups() {
    for (size_t group = 0; group < options_.ones; ++group) {
      const size_t begin = GroupBegin(group), end = GroupBegin(group + 1);
      double sum = 0, count = 0;
      for (size_t j = begin; j < end; ++j) {
        const double frequency = 1 / static_cast<double>(j - begin + 1);
        sum += frequency * static_cast<double>(model_[j]);
        count += frequency;
      }
      for (size_t j = begin; j < end; ++j) model_[j] -= static_cast<float>(sum / count);
    }
  }

  // So that w . x has variance 1 for least squares and kMargin^2 for classes.
  double Scale() const {
    if (options_.kind == Kind::kLeastSquares) return 1 / std::sqrt(static_cast<double>(options_.features));
    return kMargin /
           std::sqrt(static_cast<double>(options_.kind == Kind::kLogistic ? options_.features : options_.ones));
  }

  class ModelReader final : public Reader {
   public:
    explicit ModelReader(const GeneratedClients* owner)
        : owner_(owner), model_(owner->options_.features), cumulative_(owner->options_.features) {}

    void Open(uint32_t client) override {
      client_ = client;
      const GeneratorOptions& options = owner_->options_;
      const double far = options.heterogeneity * owner_->Scale();
      Draws draws({.seed = owner_->seed_, .rank = client, .stream = kClientModel});
      for (size_t j = 0; j < model_.size(); ++j) {
        model_[j] = owner_->model_[j] + static_cast<float>(far * draws.Normal());
      }
      if (options.kind == Kind::kSparseBinary) OpenFrequencies();
    }

    // sample: those from options.samples on are the test set's.
    void Copy(size_t sample, const SampleView& out) override {
      const GeneratorOptions& options = owner_->options_;
      Draws draws({.seed = owner_->seed_, .step = sample, .rank = client_, .stream = kSamples});
      double score = 0;
      if (options.kind == Kind::kSparseBinary) {
        score = kSecondClass + CopyOnes(draws, out.inputs);
      } else {
        for (size_t j = 0; j < model_.size(); ++j) {
          out.inputs[j] = static_cast<float>(draws.Normal());
          score += static_cast<double>(model_[j]) * static_cast<double>(out.inputs[j]);
        }
      }
      if (options.kind == Kind::kLeastSquares) {
        out.targets[0] = static_cast<float>(score + options.noise * draws.Normal());
      } else {
        out.labels[0] = draws.Uniform() < 1 / (1 + std::exp(-score)) ? 1 : 0;
      }
    }

   private:
    // The r-th feature of a group occurs 1/r as often as the first, times e^(zeta * normal) of this client.
    void OpenFrequencies() {
      Draws draws({.seed = owner_->seed_, .rank = client_, .stream = kFrequencies});
      for (size_t group = 0; group < owner_->options_.ones; ++group) {
        const size_t begin = owner_->GroupBegin(group), end = owner_->GroupBegin(group + 1);
        double sum = 0;
        for (size_t j = begin; j < end; ++j) {
          cumulative_[j] = sum +=
              std::exp(owner_->options_.heterogeneity * draws.Normal()) / static_cast<double>(j - begin + 1);
        }
        for (size_t j = begin; j < end; ++j) cumulative_[j] /= sum;
        cumulative_[end - 1] = 1;
      }
    }

    double CopyOnes(Draws& draws, std::span<float> inputs) const {
      std::fill(inputs.begin(), inputs.end(), 0.0f);
      double score = 0;
      for (size_t group = 0; group < owner_->options_.ones; ++group) {
        const double u = draws.Uniform();
        size_t j = owner_->GroupBegin(group);
        while (cumulative_[j] < u) ++j;
        inputs[j] = 1;
        score += static_cast<double>(model_[j]);
      }
      return score;
    }

    const GeneratedClients* owner_;
    uint32_t client_ = 0;
    std::vector<float> model_;
    std::vector<double> cumulative_;  // within each group
  };

  const GeneratorOptions options_;
  const uint32_t clients_;
  const uint64_t seed_;
  SampleFormat format_;
  std::vector<float> model_;
};

Dataset TestSet(const ClientData& data, const GeneratorOptions& options) {
  const SampleFormat& format = data.format();
  Dataset test;
  test.shape = format.shape;
  test.classes = format.classes;
  test.values.resize(options.test * options.features);
  test.targets.resize(options.test * format.targets_per_sample());
  test.labels.resize(options.test * format.labels_per_sample);
  const std::unique_ptr<ClientData::Reader> reader = data.NewReader();
  for (size_t i = 0; i < options.test; ++i) {
    reader->Open(static_cast<uint32_t>(i % data.clients()));
    reader->Copy(
        options.samples + i / data.clients(),
        {.inputs = std::span(test.values).subspan(i * options.features, options.features),
         .labels = std::span(test.labels).subspan(i * format.labels_per_sample, format.labels_per_sample),
         .targets = std::span(test.targets).subspan(i * format.targets_per_sample(), format.targets_per_sample())});
  }
  return test;
}

std::vector<ParameterInfo> Accepted(Kind kind) {
  const bool sparse = kind == Kind::kSparseBinary;
  std::vector<ParameterInfo> accepted = {
      {"features", "1..1000000", sparse ? "123" : "20", "of a sample"},
      {"samples", "1..1000000", "100", "of each client"},
      {"heterogeneity", "number in [0, 100]", "0", "zeta, how far clients' models differ"},
      {"test", "1..1000000", "5000", "samples of the test set"},
  };
  if (sparse) accepted.push_back({"ones", "1..features", "14", "of a sample"});
  if (kind == Kind::kLeastSquares) accepted.push_back({"noise", "number in [0, 1000]", "0.1", "of what is predicted"});
  return accepted;
}

}  // namespace

absl::StatusOr<GeneratorOptions> GeneratorOptions::Parse(std::string_view text) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(text));
  const auto name = std::find(std::begin(kNames), std::end(kNames), call.name);
  if (name == std::end(kNames)) {
    return SpecError(call.column, fmt::format("unknown generator \"{}\"; known are least-squares, logistic and "
                                              "sparse-binary",
                                              call.name));
  }
  GeneratorOptions options{.kind = static_cast<Kind>(name - std::begin(kNames))};
  const std::vector<ParameterInfo> accepted = Accepted(options.kind);
  SpecArguments arguments(call, accepted);
  const bool sparse = options.kind == Kind::kSparseBinary;
  options.features = static_cast<size_t>(arguments.Integer("features", sparse ? 123 : 20, 1, 1000000));
  options.samples = static_cast<size_t>(arguments.Integer("samples", 100, 1, 1000000));
  options.test = static_cast<size_t>(arguments.Integer("test", 5000, 1, 1000000));
  options.heterogeneity = arguments.Number("heterogeneity", 0, 0, 100);
  if (sparse) {
    options.ones = static_cast<size_t>(arguments.Integer("ones", 14, 1, static_cast<int64_t>(options.features)));
  }
  if (options.kind == Kind::kLeastSquares) options.noise = arguments.Number("noise", 0.1, 0, 1000);
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  return options;
}

std::string GeneratorOptions::ToString() const {
  std::string text = fmt::format("{}(features={}, samples={}, heterogeneity={}, test={}",
                                 kNames[static_cast<int>(kind)], features, samples, FormatNumber(heterogeneity), test);
  if (kind == Kind::kSparseBinary) text += fmt::format(", ones={}", ones);
  if (kind == Kind::kLeastSquares) text += fmt::format(", noise={}", FormatNumber(noise));
  return text + ")";
}

GeneratedData Generate(const GeneratorOptions& options, uint32_t clients, uint64_t seed) {
  GeneratedData data;
  data.clients = std::make_unique<GeneratedClients>(options, clients, seed);
  data.test = TestSet(*data.clients, options);
  return data;
}

}  // namespace laconic::nn
