#include "tools/fed/problem.h"

#include <charconv>
#include <filesystem>

#include "examples/nn/dataset.h"
#include "examples/nn/generated_data.h"
#include "examples/nn/part_files.h"
#include "examples/nn/sampling.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"

namespace laconic::tools {
namespace {

constexpr std::string_view kGenerate = "generate:";
constexpr size_t kMaxWidth = 1 << 16;

// "256x128", each in [1, kMaxWidth].
absl::StatusOr<std::vector<size_t>> ParseWidths(const SpecCall& value) {
  std::vector<size_t> widths;
  const char* at = value.name.data();
  const char* const end = at + value.name.size();
  while (true) {
    size_t width = 0;
    const auto [next, error] = std::from_chars(at, end, width);
    if (error != std::errc() || width < 1 || width > kMaxWidth || !value.arguments.empty()) {
      return SpecError(value.column, fmt::format("\"{}\" must be widths in 1..{} as 256x128", value.name, kMaxWidth));
    }
    widths.push_back(width);
    if (next == end) return widths;
    if (*next != 'x') return SpecError(value.column, fmt::format("\"{}\" must be widths as 256x128", value.name));
    at = next + 1;
  }
}

bool IsPart(const std::string& data) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(data + "/samples.safetensors", ignored);
}

}  // namespace

absl::StatusOr<nn::ModelOptions> ParseModelSpec(std::string_view text) {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(text));
  nn::ModelOptions model;
  absl::StatusOr<nn::ModelKind> kind = nn::ParseModelKind(call.name);
  if (!kind.ok()) return SpecError(call.column, std::string(kind.status().message()));
  model.kind = *kind;
  model.hidden = {128};
  std::vector<ParameterInfo> accepted;
  if (model.kind == nn::ModelKind::kLogistic) {
    accepted.push_back({"start", "zero|random", "zero", "the weights that training starts from"});
  }
  if (model.kind == nn::ModelKind::kMlp || model.kind == nn::ModelKind::kCnn) {
    accepted.push_back({"hidden", "widths", "128", "of the dense layers before the last"});
  }
  if (model.kind == nn::ModelKind::kCnn) accepted.push_back({"channels", "widths", "16x32", "of the convolutions"});
  if (model.kind == nn::ModelKind::kTransformer) {
    accepted.push_back({"width", "1..65536", "128", "features of a character"});
    accepted.push_back({"blocks", "1..64", "2", "attention and a dense layer each"});
    accepted.push_back({"heads", "1..64", "4", "of the attention"});
  }
  SpecArguments arguments(call, accepted);
  const SpecCall* hidden = nullptr;
  const SpecCall* channels = nullptr;
  if (model.kind == nn::ModelKind::kMlp || model.kind == nn::ModelKind::kCnn) hidden = arguments.Call("hidden");
  if (model.kind == nn::ModelKind::kCnn) channels = arguments.Call("channels");
  if (model.kind == nn::ModelKind::kLogistic) {
    constexpr std::string_view kStarts[] = {"zero", "random"};
    model.start_at_zero = arguments.Word("start", "zero", kStarts) == "zero";
  }
  if (model.kind == nn::ModelKind::kTransformer) {
    model.width = static_cast<size_t>(arguments.Integer("width", 128, 1, kMaxWidth));
    model.blocks = static_cast<size_t>(arguments.Integer("blocks", 2, 1, 64));
    model.heads = static_cast<size_t>(arguments.Integer("heads", 4, 1, 64));
  }
  LACONIC_RETURN_IF_ERROR(arguments.Finish());
  if (hidden != nullptr) {
    LACONIC_ASSIGN_OR_RETURN(model.hidden, ParseWidths(*hidden));
  }
  if (channels != nullptr) {
    LACONIC_ASSIGN_OR_RETURN(model.channels, ParseWidths(*channels));
  }
  return model;
}

absl::StatusOr<std::unique_ptr<FederatedProblem>> FederatedProblem::Load(const RunDescription& description) {
  LACONIC_RETURN_IF_ERROR(description.Validate());
  std::unique_ptr<FederatedProblem> problem(new FederatedProblem());
  absl::StatusOr<nn::ModelOptions> model = ParseModelSpec(description.model);
  if (!model.ok()) return Annotate(model.status(), "--model");
  problem->model_ = *std::move(model);

  if (description.data.starts_with(kGenerate)) {
    const auto options = nn::GeneratorOptions::Parse(std::string_view(description.data).substr(kGenerate.size()));
    if (!options.ok()) return Annotate(options.status(), "--data generate");
    nn::GeneratedData data = nn::Generate(*options, description.clients, description.data_seed);
    problem->clients_ = std::move(data.clients);
    problem->test_ = std::move(data.test);
  } else if (IsPart(description.data)) {
    LACONIC_ASSIGN_OR_RETURN(nn::Part part, nn::ReadPart(description.data));
    const bool is_test_set = part.data->clients() == 0;
    if (!is_test_set && part.data->clients() != description.clients) {
      return absl::InvalidArgumentError(
          fmt::format("--clients {}: {} was cut for {}", description.clients, description.data, part.data->clients()));
    }
    problem->clients_ = std::move(part.data);
    const std::string test = (std::filesystem::path(description.data).parent_path() / "test").string();
    if (IsPart(test)) {
      LACONIC_ASSIGN_OR_RETURN(problem->test_, nn::ReadTestPart(test));
    }
  } else {
    LACONIC_ASSIGN_OR_RETURN(const nn::Normalize normalize, nn::ParseNormalize(description.normalize));
    absl::StatusOr<nn::TrainTest> data = nn::LoadData(description.data, {.normalize = normalize});
    if (!data.ok()) return Annotate(data.status(), "--data");
    problem->train_ = std::move(data->train);
    problem->test_ = std::move(data->test);
    LACONIC_ASSIGN_OR_RETURN(const nn::Split split, nn::Split::Parse(description.split));
    auto clients = nn::SplitAmongClients(&problem->train_, split, description.clients, description.data_seed);
    if (!clients.ok()) return Annotate(clients.status(), fmt::format("--clients {}", description.clients));
    problem->clients_ = *std::move(clients);
  }

  auto objective = problem->MakeObjective(description);
  if (!objective.ok()) return Annotate(objective.status(), "--model");
  for (const Parameter& parameter : (*objective)->parameters()) {
    problem->parameters_.push_back({.name = parameter.name, .shape = parameter.shape});
    problem->elements_ += parameter.shape.elements();
  }
  return problem;
}

absl::StatusOr<std::unique_ptr<LocalObjective>> FederatedProblem::MakeObjective(const RunDescription& run) const {
  nn::ClientObjectiveOptions options{.model = model_,
                                     .data = clients_.get(),
                                     .batch = run.batch,
                                     .steps_per_round = run.local_steps,
                                     .seed = run.seed};
  options.model.seed = run.seed;
  return nn::ClientObjective::Create(options);
}

absl::StatusOr<std::unique_ptr<nn::ModelEvaluator>> FederatedProblem::MakeEvaluator(int threads) const {
  return nn::ModelEvaluator::Create(model_, &test_, threads);
}

}  // namespace laconic::tools
