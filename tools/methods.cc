// `laconic methods`: what can stand in a spec, from the library's own tables.
#include <cstdio>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "laconic/comm/collectives/pipeline.h"
#include "laconic/compressors/adaptive.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/optim/distributed_optimizer.h"
#include "laconic/optim/federated/method.h"
#include "nlohmann/json.hpp"
#include "tools/command.h"
#include "tools/sample_data.h"

namespace laconic::tools {
namespace {

enum class TableFormat { kText, kMarkdown, kJson };

struct Table {
  std::string name;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

std::string BitsPerElement(const Compressor& codec, const std::vector<float>& x, const Shape& shape) {
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  const absl::StatusOr<size_t> bytes = codec.Encode(x, shape, RngKey{}, body);
  return bytes.ok() ? fmt::format("{:.3g}", 8.0 * static_cast<double>(*bytes) / static_cast<double>(x.size()))
                    : bytes.status().ToString();
}

std::string Claim(const Traits& traits) {
  std::string text;
  if (traits.delta) text += fmt::format("delta = {:.3g}", *traits.delta);
  if (traits.omega) text += fmt::format("{}omega = {:.3g}", text.empty() ? "" : ", ", *traits.omega);
  if (traits.max_norm_delta) {
    text += fmt::format("{}max-norm delta = {:.3g}", text.empty() ? "" : ", ", *traits.max_norm_delta);
  }
  return text.empty() ? "none" : text;
}

std::string Keys(const std::vector<ParameterInfo>& parameters) {
  std::string text;
  for (const ParameterInfo& parameter : parameters) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", parameter.key, parameter.type);
    if (!parameter.default_value.empty()) text += fmt::format(" [{}]", parameter.default_value);
  }
  return text.empty() ? "-" : text;
}

std::vector<Table> Tables() {
  const Shape shape({1024, 1024});
  const std::vector<float> x = Gaussian(shape.elements(), /*seed=*/1);
  Table codecs{
      "Codecs", {"codec", "what it sends", "keys [default]", "example", "bits/element", "claim", "source"}, {}};
  for (const CodecInfo& info : CodecRegistry::BuiltIn().codecs()) {
    const std::string& example = info.examples.front();
    const absl::StatusOr<std::shared_ptr<const Compressor>> codec = CodecRegistry::BuiltIn().Create(example);
    if (!codec.ok()) continue;
    codecs.rows.push_back({info.name, info.summary, Keys(info.parameters), example, BitsPerElement(**codec, x, shape),
                           Claim((*codec)->traits(shape)), info.source});
  }
  Table controls{"Error controls",
                 {"control", "what it does", "keys [default]", "floats kept per element", "codec it needs", "source"},
                 {}};
  for (const ControlInfo& info : ControlTable()) {
    controls.rows.push_back({info.name, info.summary, Keys(info.parameters), info.keeps, info.needs, info.source});
  }
  Table strategies{"Strategies", {"strategy", "what it does", "keys [default]", "bytes sent per rank"}, {}};
  for (const StrategyInfo& info : StrategyTable()) {
    strategies.rows.push_back({info.name, info.summary, Keys(info.parameters), info.bytes});
  }
  Table optimizers{"Optimizers",
                   {"optimizer", "what it does", "keys [default]", "what travels", "floats kept per element", "source"},
                   {}};
  for (const OptimizerInfo& info : OptimizerTable()) {
    optimizers.rows.push_back({info.name, info.summary, Keys(info.parameters), info.travels, info.keeps, info.source});
  }
  Table federated{"Federated methods",
                  {"method", "what it does", "keys [default]", "codec it needs", "a client keeps", "the server keeps",
                   "goes down", "source"},
                  {}};
  for (const FederatedMethodInfo& info : BuiltInFederatedMethods()) {
    federated.rows.push_back({info.name, info.summary, Keys(info.parameters), info.needs, info.client_keeps,
                              info.server_keeps, info.broadcast, info.source});
  }
  const AdaptiveInfo& adaptive = GetAdaptiveInfo();
  const Table policies{"Layer policies",
                       {"in a codec's place", "what it does", "keys [default]", "source"},
                       {{adaptive.name, adaptive.summary, Keys(adaptive.parameters), adaptive.source}}};
  return {codecs, policies, controls, strategies, optimizers, federated};
}

std::string Escaped(std::string cell) {
  for (size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2) cell.insert(at, "\\");
  return cell;
}

std::string Markdown(const Table& table) {
  std::string text = fmt::format("**{}**\n\n|", table.name);
  for (const std::string& cell : table.header) text += " " + cell + " |";
  text += "\n|";
  for (size_t i = 0; i < table.header.size(); ++i) text += "---|";
  for (const std::vector<std::string>& row : table.rows) {
    text += "\n|";
    for (const std::string& cell : row) text += " " + Escaped(cell) + " |";
  }
  return text + "\n";
}

std::string Text(const Table& table) {
  std::string text = table.name + "\n";
  for (const std::vector<std::string>& row : table.rows) {
    text += fmt::format("  {}\n", row[0]);
    for (size_t i = 1; i < row.size(); ++i) text += fmt::format("    {:<24} {}\n", table.header[i], row[i]);
  }
  return text;
}

// Codecs (with bits per element measured by encoding 2^20 standard normal values as a 1024 x 1024 matrix), error
// controls with their memory price, strategies with their wire bytes, optimizers, federated methods.
std::string DescribeMethods(TableFormat format) {
  nlohmann::ordered_json json;
  std::string text;
  for (const Table& table : Tables()) {
    if (format == TableFormat::kJson) {
      for (const std::vector<std::string>& row : table.rows) {
        nlohmann::ordered_json object;
        for (size_t i = 0; i < row.size(); ++i) object[table.header[i]] = row[i];
        json[table.name].push_back(object);
      }
      continue;
    }
    text += (text.empty() ? "" : "\n") + (format == TableFormat::kMarkdown ? Markdown(table) : Text(table));
  }
  return format == TableFormat::kJson ? json.dump(2) + "\n" : text;
}

}  // namespace

Command AddMethods(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "methods",
      "List codecs, error controls, strategies, optimizers and federated methods, with bytes and memory price");
  CLI::Option* markdown = command->add_flag("--markdown")->description("As the tables in the README");
  CLI::Option* json = command->add_flag("--json")->description("As one JSON object")->excludes(markdown);
  auto run = [=]() -> absl::StatusOr<Answer> {
    const TableFormat format = json->count() > 0       ? TableFormat::kJson
                               : markdown->count() > 0 ? TableFormat::kMarkdown
                                                       : TableFormat::kText;
    std::fputs(DescribeMethods(format).c_str(), stdout);
    return Answer::kYes;
  };
  return {command, run};
}

}  // namespace laconic::tools
