// What a federated run is: data, model, split, method, codec, rounds. Nothing of how or where it is carried out, so the
// same text describes a simulation and a deployment.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/optim/federated/federation.h"
#include "nlohmann/json_fwd.hpp"

namespace CLI {
class App;
}

namespace laconic::tools {

struct RunDescription {
  std::string data = "fashion-mnist";
  std::string normalize = "mean";
  std::string model = "logistic";
  std::string split = "shards=2";
  uint64_t data_seed = 0;
  uint32_t clients = 200;
  uint32_t sample = 20;

  std::string method = "fedavg";
  std::string compress = "identity";
  std::string down = "identity";
  uint64_t min_elements = 0;
  uint32_t local_steps = 10;
  uint32_t batch = 32;
  double lr = 0.1;
  double server_lr = 1;
  std::string server_optimizer = "sgd";
  uint64_t seed = 1;
  uint64_t rounds = 300;
  uint64_t eval_every = 10;

  FederatedPlan Plan() const;
  // InvalidArgument naming option, value and bound.
  absl::Status Validate() const;
  // TOML whose keys are the options' names; ParseDescription reads it.
  std::string ToToml() const;
  nlohmann::ordered_json ToJson() const;
};

// One option of a description, bound to its place in one.
struct DescriptionField {
  const char* name;   // "local-steps": --local-steps and the key in TOML and JSON
  const char* group;  // of the help
  const char* help;
  std::variant<std::string*, double*, uint32_t*, uint64_t*> value;
};
// All of them, in the order of the help.
std::vector<DescriptionField> FieldsOf(RunDescription& description);

// Adds an option for each field but those named in `without`. The description must outlive the app.
void AddDescriptionOptions(CLI::App& app, RunDescription& description, std::span<const std::string_view> without = {});

// InvalidArgument for text that is no such TOML, a key that is no field, or a value that Validate refuses.
absl::StatusOr<RunDescription> ParseDescription(std::string_view toml);
// From ToJson's. `where` is for messages.
absl::StatusOr<RunDescription> DescriptionOf(const nlohmann::ordered_json& json, std::string_view where);

// Gives the options of `app` that the command line left out the values of a TOML file. NotFound; InvalidArgument naming
// file and key for a key that is no option of the app.
absl::Status ReadConfigFile(CLI::App& app, const std::string& path);

}  // namespace laconic::tools
