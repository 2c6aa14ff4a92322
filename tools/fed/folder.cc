#include "tools/fed/folder.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "tools/machine.h"
#include "tools/result_file.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

absl::Status WriteText(const std::string& path, std::string_view text) {
  return WriteFileAtomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// Reads one JSON object and remembers the first thing that is missing in it.
class Fields {
 public:
  Fields(Json json, std::string where) : json_(std::move(json)), where_(std::move(where)) {}

  template <typename T>
  void Read(const char* name, T& value) {
    const auto found = json_.is_object() ? json_.find(name) : json_.end();
    if (!json_.is_object() || found == json_.end()) return Fail(name);
    if constexpr (std::is_same_v<T, std::string>) {
      if (!found->is_string()) return Fail(name);
      value = found->template get<std::string>();
    } else if constexpr (std::is_same_v<T, double>) {
      if (!found->is_number() && !found->is_null()) return Fail(name);
      value = found->is_null() ? std::nan("") : found->template get<double>();
    } else {
      if (!found->is_number_unsigned()) return Fail(name);
      value = found->template get<T>();
    }
  }
  void ReadHash(const char* name, uint64_t& value) {
    std::string text;
    Read(name, text);
    value = std::strtoull(text.c_str(), nullptr, 16);
  }
  const absl::Status& status() const { return status_; }

 private:
  void Fail(const char* name) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(fmt::format("{}: {} is missing or of the wrong type", where_, name));
    }
  }

  const Json json_;
  const std::string where_;
  absl::Status status_;
};

Json ConfigJson(const FedConfig& config) {
  Json json = {{"schema", kFedSchema},
               {"version", kFedVersion},
               {"name", config.name},
               {"command", config.command},
               {"date", config.date},
               {"machine", config.machine},
               {"description", config.base.ToJson()},
               {"simulation",
                {{"threads", config.settings.threads},
                 {"network", config.settings.network},
                 {"deadline", config.settings.deadline},
                 {"failure-rate", config.settings.failure_rate},
                 {"state-memory", config.settings.state_memory_mib}}},
               {"checkpoint-every", config.checkpoint_every},
               {"target", config.target},
               {"elements", config.elements()},
               {"tensors", Json::array()},
               {"split", config.split},
               {"runs", Json::array()}};
  for (const Parameter& tensor : config.tensors) {
    const std::span<const uint64_t> dims = tensor.shape.dimensions();
    json["tensors"].push_back({{"name", tensor.name}, {"shape", std::vector<uint64_t>(dims.begin(), dims.end())}});
  }
  for (const PlannedRun& run : config.runs) {
    json["runs"].push_back({{"id", run.id},
                            {"label", run.Label()},
                            {"method", run.method},
                            {"compress", run.compress},
                            {"seed", run.description.seed}});
  }
  return json;
}

absl::StatusOr<FedConfig> ParseConfig(const std::string& path, const Json& json) {
  std::string schema;
  uint64_t version = 0;
  FedConfig config;
  Fields fields(json, path);
  fields.Read("schema", schema);
  fields.Read("version", version);
  LACONIC_RETURN_IF_ERROR(fields.status());
  if (schema != kFedSchema || version != kFedVersion) {
    return absl::InvalidArgumentError(fmt::format("{}: schema {} version {}; {} version {} is known", path, schema,
                                                  version, kFedSchema, kFedVersion));
  }
  fields.Read("name", config.name);
  fields.Read("command", config.command);
  fields.Read("date", config.date);
  fields.Read("checkpoint-every", config.checkpoint_every);
  fields.Read("target", config.target);
  if (const auto machine = json.find("machine"); machine != json.end() && machine->is_object())
    config.machine = *machine;
  Fields simulation(json.value("simulation", Json::object()), path + ": simulation");
  uint64_t threads = 0;
  simulation.Read("threads", threads);
  config.settings.threads = static_cast<int>(threads);
  simulation.Read("network", config.settings.network);
  simulation.Read("deadline", config.settings.deadline);
  simulation.Read("failure-rate", config.settings.failure_rate);
  simulation.Read("state-memory", config.settings.state_memory_mib);
  LACONIC_RETURN_IF_ERROR(fields.status());
  LACONIC_RETURN_IF_ERROR(simulation.status());
  LACONIC_RETURN_IF_ERROR(config.settings.Validate());
  LACONIC_ASSIGN_OR_RETURN(config.base,
                           DescriptionOf(json.value("description", Json::object()), path + ": description"));
  try {
    config.split = json.at("split").get<std::vector<std::vector<uint64_t>>>();
    for (const Json& tensor : json.at("tensors")) {
      LACONIC_ASSIGN_OR_RETURN(const Shape shape, Shape::Make(tensor.at("shape").get<std::vector<uint64_t>>()));
      config.tensors.push_back({.name = tensor.at("name").get<std::string>(), .shape = shape});
    }
    for (const Json& item : json.at("runs")) {
      PlannedRun run{.description = config.base};
      Fields entry(item, path + ": runs");
      entry.Read("id", run.id);
      entry.Read("method", run.method);
      entry.Read("compress", run.compress);
      entry.Read("seed", run.description.seed);
      LACONIC_RETURN_IF_ERROR(entry.status());
      if (run.id.empty() || run.id.find('/') != std::string::npos || run.id.front() == '.') {
        return absl::InvalidArgumentError(fmt::format("{}: \"{}\" is no id of a run", path, run.id));
      }
      run.description.method = run.method;
      run.description.compress = run.compress;
      config.runs.push_back(std::move(run));
    }
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", path, error.what()));
  }
  return config;
}

absl::StatusOr<Json> ReadJson(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError(fmt::format("{}: no JSON", path));
  return json;
}

absl::StatusOr<Evaluation> ParseEvaluation(const Json& json, const std::string& where) {
  Evaluation e;
  Fields fields(json, where);
  fields.Read("round", e.round);
  fields.Read("test_accuracy", e.test_accuracy);
  fields.Read("test_loss", e.test_loss);
  fields.Read("train_loss", e.train_loss);
  fields.Read("asked", e.asked);
  fields.Read("updates", e.updates);
  fields.Read("uplink_bytes", e.uplink_bytes);
  fields.Read("downlink_bytes", e.downlink_bytes);
  fields.Read("seconds", e.seconds);
  LACONIC_RETURN_IF_ERROR(fields.status());
  return e;
}

// Lines with their run and round; an incomplete last line, which a crash left, is dropped.
struct Line {
  std::string text, run;
  Json json;
};
absl::StatusOr<std::vector<Line>> ReadLines(const std::string& path) {
  std::vector<Line> lines;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return lines;
  LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    Line line{.text = text.substr(begin, end - begin)};
    line.json = Json::parse(line.text, nullptr, /*allow_exceptions=*/false);
    if (!line.json.is_object() || !line.json.contains("run") || !line.json["run"].is_string()) {
      return absl::DataLossError(fmt::format("{}: line {} is none of a run", path, lines.size() + 1));
    }
    line.run = line.json["run"].get<std::string>();
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

size_t FedConfig::elements() const {
  size_t elements = 0;
  for (const Parameter& tensor : tensors) elements += tensor.shape.elements();
  return elements;
}

std::string HashText(uint64_t hash) { return fmt::format("{:016x}", hash); }

Json EvaluationJson(const std::string& id, const Evaluation& e) {
  return {{"run", id},
          {"round", e.round},
          {"test_accuracy", Number(e.test_accuracy)},
          {"test_loss", Number(e.test_loss)},
          {"train_loss", Number(e.train_loss)},
          {"asked", e.asked},
          {"updates", e.updates},
          {"uplink_bytes", e.uplink_bytes},
          {"downlink_bytes", e.downlink_bytes},
          {"seconds", Number(e.seconds)}};
}

std::string FreeFolder(const std::string& path) {
  std::error_code ignored;
  std::string candidate = path;
  for (int i = 2; std::filesystem::exists(candidate, ignored); ++i) candidate = fmt::format("{}-{}", path, i);
  return candidate;
}

absl::StatusOr<FedFolder> FedFolder::Create(const std::string& path, const FedConfig& config) {
  std::error_code error;
  if (std::filesystem::exists(path + "/config.json", error)) {
    return absl::AlreadyExistsError(fmt::format(
        "{} holds a run already: name another folder with -o, or go on with laconic fed resume {}", path, path));
  }
  for (const char* folder : {"/runs", "/models"}) {
    std::filesystem::create_directories(path + folder, error);
    if (error) return absl::UnavailableError(fmt::format("cannot make {}{}: {}", path, folder, error.message()));
  }
  FedFolder folder(path, config);
  LACONIC_RETURN_IF_ERROR(folder.WriteConfig());
  return folder;
}

absl::StatusOr<FedFolder> FedFolder::Open(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const Json json, ReadJson(path + "/config.json"));
  LACONIC_ASSIGN_OR_RETURN(FedConfig config, ParseConfig(path + "/config.json", json));
  return FedFolder(path, std::move(config));
}

absl::StatusOr<std::optional<FinishedRun>> FedFolder::Finished(const std::string& id) const {
  const std::string path = fmt::format("{}/runs/{}.json", path_, id);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::optional<FinishedRun>();
  LACONIC_ASSIGN_OR_RETURN(const Json json, ReadJson(path));
  FinishedRun run;
  Fields fields(json, path);
  fields.ReadHash("model_hash", run.model_hash);
  fields.ReadHash("state_hash", run.state_hash);
  fields.Read("rounds", run.rounds);
  fields.Read("error", run.error);
  fields.Read("real_seconds", run.real_seconds);
  fields.Read("real_rounds", run.real_rounds);
  fields.Read("client_state_bytes", run.client_state_bytes);
  LACONIC_RETURN_IF_ERROR(fields.status());
  return std::optional<FinishedRun>(run);
}

absl::StatusOr<std::vector<Evaluation>> FedFolder::Evaluations(const std::string& id) const {
  const std::string path = path_ + "/rounds.jsonl";
  LACONIC_ASSIGN_OR_RETURN(const std::vector<Line> lines, ReadLines(path));
  std::vector<Evaluation> evaluations;
  for (const Line& line : lines) {
    if (line.run != id) continue;
    LACONIC_ASSIGN_OR_RETURN(evaluations.emplace_back(), ParseEvaluation(line.json, path));
  }
  return evaluations;
}

absl::Status FedFolder::Append(const std::string& id, const Evaluation& evaluation) {
  const std::string path = path_ + "/rounds.jsonl";
  const std::string line = Dump(EvaluationJson(id, evaluation), -1) + "\n";
  std::FILE* file = std::fopen(path.c_str(), "ab");
  bool written = file != nullptr && std::fwrite(line.data(), 1, line.size(), file) == line.size();
  written = written && std::fflush(file) == 0 && ::fdatasync(::fileno(file)) == 0;
  if (file != nullptr) written = std::fclose(file) == 0 && written;
  return written ? absl::OkStatus() : absl::UnavailableError(fmt::format("cannot write {}", path));
}

absl::Status FedFolder::Truncate(const std::string& id, bool keep, uint64_t round) {
  const std::string path = path_ + "/rounds.jsonl";
  LACONIC_ASSIGN_OR_RETURN(const std::vector<Line> lines, ReadLines(path));
  std::string text;
  for (const Line& line : lines) {
    const bool later = line.run == id && (!keep || line.json.value("round", uint64_t{0}) > round);
    if (!later) text += line.text + "\n";
  }
  return WriteText(path, text);
}

absl::Status FedFolder::Finish(const PlannedRun& run, const RunOutcome& outcome) {
  StateArchive archive;
  StateWriter out(&archive);
  size_t offset = 0;
  for (const Parameter& tensor : config_.tensors) {
    const size_t count = tensor.shape.elements();
    out.Floats(tensor.name, std::span(outcome.model).subspan(offset, count), tensor.shape);
    offset += count;
  }
  out.Text("run", run.id);
  out.Text("description", run.description.ToToml());
  LACONIC_RETURN_IF_ERROR(WriteStateFile(fmt::format("{}/models/{}.safetensors", path_, run.id), archive));
  const Json json = {{"id", run.id},
                     {"label", run.Label()},
                     {"model_hash", HashText(outcome.model_hash)},
                     {"state_hash", HashText(outcome.state_hash)},
                     {"rounds", outcome.rounds},
                     {"error", outcome.error},
                     {"real_seconds", outcome.real_seconds},
                     {"real_rounds", outcome.real_rounds},
                     {"client_state_bytes", outcome.client_state_bytes}};
  LACONIC_RETURN_IF_ERROR(WriteText(fmt::format("{}/runs/{}.json", path_, run.id), Dump(json, 2) + "\n"));
  std::error_code ignored;
  std::filesystem::remove_all(CheckpointFolder(run.id), ignored);
  return absl::OkStatus();
}

absl::Status FedFolder::WriteConfig() const {
  Json json = ConfigJson(config_);
  for (Json& item : json["runs"]) {
    LACONIC_ASSIGN_OR_RETURN(const std::optional<FinishedRun> run, Finished(item["id"].get<std::string>()));
    if (!run.has_value()) continue;
    item["model_hash"] = HashText(run->model_hash);
    item["state_hash"] = HashText(run->state_hash);
  }
  return WriteText(path_ + "/config.json", Dump(json, 1) + "\n");
}

}  // namespace laconic::tools
