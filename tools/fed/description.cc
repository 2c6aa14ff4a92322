#include "tools/fed/description.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <type_traits>

#include "CLI/CLI.hpp"
#include "examples/nn/dataset.h"
#include "examples/nn/sampling.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"
#include "nlohmann/json.hpp"
#include "tools/result_file.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint32_t kMaxClients = 10'000'000;
constexpr uint64_t kMaxRounds = 100'000'000;

constexpr const char* kProblem = "The problem";
constexpr const char* kMethod = "The method";
constexpr const char* kLength = "How long";

absl::Status Refuse(std::string_view option, const std::string& value, std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("--{} {}: {}", option, value, why));
}

template <typename T>
absl::Status InRange(std::string_view option, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refuse(option, fmt::format("{}", value), fmt::format("must be in [{}, {}]", low, high));
}

absl::Status PositiveRate(std::string_view option, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return Refuse(option, fmt::format("{}", value), "must be a number above 0");
}

// A TOML string; what it cannot hold as it is, is escaped.
std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

std::vector<DescriptionField> FieldsOf(RunDescription& d) {
  return {
      {"data", kProblem,
       "fashion-mnist[:FOLDER] | idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS] | csv:TRAIN[,TEST][,label=last] | "
       "libsvm:TRAIN[,TEST] | bible | text:FILE | generate:logistic(heterogeneity=1) | "
       "generate:least-squares(features=20) | generate:sparse-binary(samples=100): 123 binary features, 14 of them "
       "set, "
       "two classes, as a9a has | a folder of `laconic fed split`: that client's samples alone",
       &d.data},
      {"normalize", kProblem,
       "mean: pixels / 255 (other features / their largest magnitude) less each feature's mean | unit: pixels to mean "
       "0 "
       "and variance 1 | none",
       &d.normalize},
      {"model", kProblem, "logistic | mlp(hidden=128) | cnn(channels=16x32, hidden=128) | transformer", &d.model},
      {"split", kProblem,
       "Who has which samples: iid | shards=2: sorted by label, two runs of labels a client | labels: one run | "
       "dirichlet=0.3: each label in random shares, the smaller the more unequal | lognormal=1 or power=1: at random, "
       "in "
       "unequal numbers",
       &d.split},
      {"data-seed", kProblem, "Of the split and of generated data: the same for every --seeds", &d.data_seed},
      {"clients", kProblem, "N, how many there are", &d.clients},
      {"sample", kMethod, "S, how many take part in a round, drawn at random", &d.sample},
      {"method", kMethod, "What clients and server do, a spec: scallion(alpha=0.1)", &d.method},
      {"compress", kMethod, "How clients' messages are encoded, a codec or rules by tensor", &d.compress},
      {"down", kMethod, "How the server's messages are encoded", &d.down},
      {"min-elements", kMethod, "Tensors smaller than that are sent as they are", &d.min_elements},
      {"local-steps", kMethod, "K, a client's steps in a round", &d.local_steps},
      {"batch", kMethod, "Samples of a step", &d.batch},
      {"lr", kMethod, "Of a local step", &d.lr},
      {"server-lr", kMethod, "Of the server's step: 1 takes the clients' mean", &d.server_lr},
      {"server-optimizer", kMethod, "sgd | sgd(momentum=0.9, nesterov=true), DiLoCo's outer step | adamw, as FedAdam",
       &d.server_optimizer},
      {"seed", kMethod, "Of weights, sampling, minibatches and codecs", &d.seed},
      {"rounds", kLength, "Rounds of each run", &d.rounds},
      {"eval-every", kLength, "Rounds between two looks at the test set", &d.eval_every},
  };
}

FederatedPlan RunDescription::Plan() const {
  FederatedPlan plan;
  plan.method = method;
  plan.uplink = compress;
  plan.downlink = down;
  plan.work = {.steps = local_steps, .learning_rate = lr};
  plan.server_learning_rate = server_lr;
  plan.server_optimizer = server_optimizer;
  plan.clients = clients;
  plan.sampled = sample;
  plan.seed = seed;
  plan.min_elements = min_elements;
  return plan;
}

absl::Status RunDescription::Validate() const {
  LACONIC_RETURN_IF_ERROR(InRange<uint32_t>("clients", clients, 1, kMaxClients));
  LACONIC_RETURN_IF_ERROR(InRange<uint32_t>("sample", sample, 1, kMaxClients));
  if (sample > clients) {
    return Refuse("sample", fmt::format("{}", sample), fmt::format("must be at most --clients {}", clients));
  }
  LACONIC_RETURN_IF_ERROR(InRange<uint32_t>("local-steps", local_steps, 1, 1'000'000));
  LACONIC_RETURN_IF_ERROR(InRange<uint32_t>("batch", batch, 1, 65536));
  LACONIC_RETURN_IF_ERROR(PositiveRate("lr", lr));
  LACONIC_RETURN_IF_ERROR(PositiveRate("server-lr", server_lr));
  LACONIC_RETURN_IF_ERROR(InRange<uint64_t>("rounds", rounds, 1, kMaxRounds));
  LACONIC_RETURN_IF_ERROR(InRange<uint64_t>("eval-every", eval_every, 1, kMaxRounds));
  if (const auto how = nn::ParseNormalize(normalize); !how.ok()) return Annotate(how.status(), "--normalize");
  if (const auto how = nn::Split::Parse(split); !how.ok()) return Annotate(how.status(), "--split");
  return absl::OkStatus();
}

std::string RunDescription::ToToml() const {
  RunDescription copy = *this;
  std::string toml;
  for (const DescriptionField& field : FieldsOf(copy)) {
    std::visit(
        [&](const auto* value) {
          using T = std::decay_t<decltype(*value)>;
          if constexpr (std::is_same_v<T, std::string>)
            toml += fmt::format("{} = {}\n", field.name, Quoted(*value));
          else if constexpr (std::is_same_v<T, double>)
            toml += fmt::format("{} = {}\n", field.name, FormatNumber(*value));
          else
            toml += fmt::format("{} = {}\n", field.name, *value);
        },
        field.value);
  }
  return toml;
}

Json RunDescription::ToJson() const {
  RunDescription copy = *this;
  Json json = Json::object();
  for (const DescriptionField& field : FieldsOf(copy)) {
    std::visit([&](const auto* value) { json[field.name] = *value; }, field.value);
  }
  return json;
}

void AddDescriptionOptions(CLI::App& app, RunDescription& description, std::span<const std::string_view> without) {
  for (const DescriptionField& field : FieldsOf(description)) {
    if (std::find(without.begin(), without.end(), field.name) != without.end()) continue;
    std::visit(
        [&](auto* value) {
          app.add_option(fmt::format("--{}", field.name), *value, field.help)
              ->capture_default_str()
              ->take_last()
              ->group(field.group);
        },
        field.value);
  }
}

absl::StatusOr<RunDescription> ParseDescription(std::string_view toml) {
  RunDescription description;
  CLI::App app;
  app.allow_config_extras(CLI::config_extras_mode::error);
  AddDescriptionOptions(app, description);
  std::istringstream in{std::string(toml)};
  try {
    app.parse_from_stream(in);
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(fmt::format("description of a run: {}", error.what()));
  }
  LACONIC_RETURN_IF_ERROR(description.Validate());
  return description;
}

absl::StatusOr<RunDescription> DescriptionOf(const Json& json, std::string_view where) {
  RunDescription description;
  for (const DescriptionField& field : FieldsOf(description)) {
    const auto found = json.is_object() ? json.find(field.name) : json.end();
    const bool there = json.is_object() && found != json.end();
    const bool fits = there && (std::holds_alternative<std::string*>(field.value) ? found->is_string()
                                : std::holds_alternative<double*>(field.value)    ? found->is_number()
                                                                                  : found->is_number_unsigned());
    if (!fits)
      return absl::InvalidArgumentError(fmt::format("{}: {} is missing or of the wrong type", where, field.name));
    std::visit([&](auto* value) { *value = found->get<std::decay_t<decltype(*value)>>(); }, field.value);
  }
  if (const absl::Status status = description.Validate(); !status.ok()) return Annotate(status, where);
  return description;
}

absl::Status ReadConfigFile(CLI::App& app, const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  std::istringstream in(text);
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(in)) {
      if (item.name == "++" || item.name == "--") continue;  // marks where a section begins and ends
      CLI::Option* option = app.get_option_no_throw("--" + item.name);
      if (option == nullptr || !item.parents.empty()) {
        return absl::InvalidArgumentError(fmt::format("{}: there is no option --{}", path, item.fullname()));
      }
      if (option->count() > 0) continue;
      option->add_result(item.inputs);
      option->run_callback();
    }
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", path, error.what()));
  }
  return absl::OkStatus();
}

}  // namespace laconic::tools
