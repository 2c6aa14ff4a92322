#include "examples/nn/client_objective.h"

#include <algorithm>

#include "fmt/format.h"
#include "laconic/base/parallel.h"
#include "laconic/base/status.h"

namespace laconic::nn {
namespace {

constexpr uint32_t kNobody = 0xffffffff;
constexpr size_t kRows = 250;  // of one piece of an evaluation

class Evaluator final : public ModelEvaluator {
 public:
  Evaluator(const Dataset* data, std::vector<std::unique_ptr<Model>> models)
      : data_(data), pool_(static_cast<int>(models.size())), models_(std::move(models)) {
    inputs_.resize(models_.size());
    for (std::vector<float>& inputs : inputs_) inputs.resize(kRows * data->shape.size());
    scores_.resize((data->size() + kRows - 1) / kRows);
  }

  Score Evaluate(std::span<const float> weights) override {
    // One loop iteration is one model, which takes every models_.size()-th piece.
    pool_.ForEach(models_.size(), [&](size_t worker) {
      std::ranges::copy(weights, models_[worker]->weights().begin());
      for (size_t piece = worker; piece < scores_.size(); piece += models_.size())
        scores_[piece] = Piece(worker, piece);
    });
    Score sum;
    for (const Score& score : scores_) {
      sum.predictions += score.predictions;
      sum.correct += score.correct;
      sum.loss += score.loss;
    }
    return sum;
  }

 private:
  Score Piece(size_t worker, size_t piece) {
    const size_t begin = piece * kRows, rows = std::min(kRows, data_->size() - begin), width = data_->shape.size();
    const std::span<float> inputs = std::span(inputs_[worker]).first(rows * width);
    for (size_t row = 0; row < rows; ++row) data_->CopySample(begin + row, inputs.subspan(row * width, width));
    const size_t labels = data_->classes == 0 ? 0 : data_->labels_per_sample;
    return models_[worker]->Evaluate(
        {.inputs = inputs,
         .labels = std::span(data_->labels).subspan(begin * labels, rows * labels),
         .targets = data_->classes == 0 ? std::span(data_->targets).subspan(begin, rows) : std::span<const float>()});
  }

  const Dataset* data_;
  WorkerPool pool_;
  const std::vector<std::unique_ptr<Model>> models_;
  std::vector<std::vector<float>> inputs_;
  std::vector<Score> scores_;
};

}  // namespace

ModelOptions ModelFor(const ModelOptions& model, const SampleFormat& format, size_t rows) {
  ModelOptions options = model;
  options.input = format.shape;
  options.classes = std::max<size_t>(format.classes, 1);
  options.max_rows = rows;
  return options;
}

absl::StatusOr<std::unique_ptr<ClientObjective>> ClientObjective::Create(const ClientObjectiveOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                           Model::Create(ModelFor(options.model, options.data->format(), options.batch)));
  return std::unique_ptr<ClientObjective>(new ClientObjective(options, std::move(model)));
}

ClientObjective::ClientObjective(const ClientObjectiveOptions& options, std::unique_ptr<Model> model)
    : options_(options),
      model_(std::move(model)),
      reader_(options.data->NewReader()),
      order_(1, options.seed, 0),
      client_(kNobody),
      inputs_(options.batch * options.data->format().shape.size()),
      targets_(options.batch * options.data->format().targets_per_sample()),
      labels_(options.batch * options.data->format().labels_per_sample) {}

absl::StatusOr<double> ClientObjective::Evaluate(const MinibatchKey& key) {
  if (key.client != client_) {
    const size_t samples = options_.data->samples(key.client);
    if (samples == 0) {
      return absl::OutOfRangeError(
          fmt::format("client {} of {} has no samples here", key.client, options_.data->clients()));
    }
    reader_->Open(key.client);
    order_ = DrawOrder(static_cast<uint32_t>(samples), options_.seed, key.client);
    client_ = key.client;
  }
  const SampleFormat& format = options_.data->format();
  const size_t width = format.shape.size(), labels = format.labels_per_sample, targets = format.targets_per_sample();
  const uint64_t first = (key.round * options_.steps_per_round + key.step) * options_.batch;
  for (size_t row = 0; row < options_.batch; ++row) {
    reader_->Copy(order_(first + row), {.inputs = std::span(inputs_).subspan(row * width, width),
                                        .labels = std::span(labels_).subspan(row * labels, labels),
                                        .targets = std::span(targets_).subspan(row * targets, targets)});
  }
  const double loss = model_->Forward({.inputs = inputs_, .labels = labels_, .targets = targets_});
  model_->Backward([](TensorId) {});
  return loss;
}

absl::StatusOr<std::unique_ptr<ModelEvaluator>> ModelEvaluator::Create(const ModelOptions& model, const Dataset* data,
                                                                       int threads) {
  std::vector<std::unique_ptr<Model>> models;
  for (int i = 0; i < threads; ++i) {
    LACONIC_ASSIGN_OR_RETURN(models.emplace_back(), Model::Create(ModelFor(model, FormatOf(*data), kRows)));
  }
  return std::make_unique<Evaluator>(data, std::move(models));
}

}  // namespace laconic::nn
