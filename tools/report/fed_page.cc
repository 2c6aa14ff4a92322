#include "tools/report/fed_page.h"

#include <cmath>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"
#include "tools/fed/folder.h"
#include "tools/fed/summary.h"
#include "tools/report/assets.h"
#include "tools/report/page.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;

Json PointsOf(const std::vector<Evaluation>& evaluations) {
  Json points = {{"round", Json::array()},  {"accuracy", Json::array()}, {"loss", Json::array()},
                 {"uplink", Json::array()}, {"downlink", Json::array()}, {"asked", Json::array()},
                 {"seconds", Json::array()}};
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  for (const Evaluation& e : evaluations) {
    points["round"].push_back(e.round);
    points["accuracy"].push_back(number(e.test_accuracy));
    points["loss"].push_back(number(e.test_loss));
    points["uplink"].push_back(e.uplink_bytes);
    points["downlink"].push_back(e.downlink_bytes);
    points["asked"].push_back(e.asked);
    points["seconds"].push_back(number(e.seconds));
  }
  return points;
}

// Runs of one label together.
absl::StatusOr<Json> GroupsOf(const FedFolder& folder) {
  Json groups = Json::array();
  for (const PlannedRun& run : folder.config().runs) {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<Evaluation> evaluations, folder.Evaluations(run.id));
    if (evaluations.empty()) continue;
    if (groups.empty() || groups.back()["label"] != run.Label()) {
      groups.push_back({{"label", run.Label()}, {"runs", Json::array()}});
    }
    groups.back()["runs"].push_back(PointsOf(evaluations));
  }
  return groups;
}

std::string ChartHtml(std::string_view title, std::string_view caption, std::string_view x, std::string_view y) {
  std::string html = fmt::format("<article>\n<h3>{}</h3>\n<figure>\n", title);
  if (HaveUplot()) {
    html += fmt::format("<div class=\"chart\" data-x=\"{}\" data-y=\"{}\" role=\"img\" aria-label=\"{}\"></div>\n", x,
                        y, title);
  }
  return html + fmt::format("<figcaption>{}</figcaption>\n</figure>\n</article>\n", caption);
}

std::string Charts(bool accuracy, bool has_clock) {
  std::string html;
  const std::string_view bands = "Lines are means over seeds, bands go from the least to the largest. ";
  const auto add = [&](std::string_view y, std::string_view name) {
    html += ChartHtml(fmt::format("{} against bytes sent", name),
                      fmt::format("{}Bytes of all clients' messages as the codecs wrote them, frames included; further "
                                  "left is cheaper.",
                                  bands),
                      "uplink", y);
    html += ChartHtml(fmt::format("{} against rounds", name), bands, "round", y);
  };
  if (accuracy) add("accuracy", "Test accuracy");
  add("loss", "Test loss");
  if (HaveUplot()) {
    html += "<p><label>Uplink of each client<select id=\"uplink\">";
    if (has_clock) html += "<option value=\"0\">as simulated</option>";
    for (const auto& [rate, text] : {std::pair{"250000", "250 kbit/s"}, std::pair{"1000000", "1 Mbit/s"},
                                     std::pair{"10000000", "10 Mbit/s"}, std::pair{"100000000", "100 Mbit/s"}}) {
      html += fmt::format("<option value=\"{}\">{}</option>", rate, text);
    }
    html += "</select></label></p>\n";
  }
  html +=
      ChartHtml(fmt::format("Test {} against time", accuracy ? "accuracy" : "loss"),
                "With a chosen uplink: the time that messages take, the downlink ten times as fast, clients side by "
                "side; latency and local work take none. As simulated: the clock of --network.",
                "seconds", accuracy ? "accuracy" : "loss");
  return html;
}

std::string ResultsTable(const Summary& summary) {
  const auto figure = [](double value, int digits) {
    return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : std::string("-");
  };
  const std::string target = summary.target_is_loss ? fmt::format("loss {:.4g}", summary.target)
                                                    : fmt::format("{:.4g} %", 100 * summary.target);
  std::vector<std::string> header = {"method",
                                     "codec",
                                     "seeds",
                                     "accuracy (%)",
                                     "spread (%)",
                                     "test loss",
                                     "uplink (bits/parameter)",
                                     "fewer (x fp32)",
                                     "uplink (MB)",
                                     "downlink (MB)",
                                     "uplink to " + target + " (MB)"};
  if (summary.has_clock) header.push_back("simulated time to " + target + " (s)");
  header.push_back("real (rounds/s)");
  std::vector<std::vector<std::string>> rows;
  for (const SummaryRow& row : summary.rows) {
    std::vector<std::string> cells = {row.method,
                                      row.error.empty() ? row.compress : row.compress + " (ended early)",
                                      fmt::format("{}", row.runs),
                                      figure(100 * row.accuracy, 2),
                                      row.runs > 1 ? figure(100 * row.accuracy_deviation, 2) : "-",
                                      figure(row.loss, 4),
                                      figure(row.bits_per_parameter, 2),
                                      figure(row.ratio, 1),
                                      figure(row.uplink_bytes / 1e6, 2),
                                      figure(row.downlink_bytes / 1e6, 2),
                                      row.bytes_to_target ? figure(*row.bytes_to_target / 1e6, 3) : "-"};
    if (summary.has_clock) cells.push_back(row.seconds_to_target ? figure(*row.seconds_to_target, 1) : "-");
    cells.push_back(figure(row.rounds_per_second, 1));
    rows.push_back(std::move(cells));
  }
  return HtmlTable(header, rows);
}

std::string Facts(const FedConfig& config) {
  const RunDescription& d = config.base;
  const std::pair<const char*, std::string> facts[] = {
      {"data", fmt::format("{}, normalised: {}", d.data, d.normalize)},
      {"model", fmt::format("{}, {} parameters", d.model, config.elements())},
      {"split", fmt::format("{} among {} clients, {} a round", d.split, d.clients, d.sample)},
      {"local work", fmt::format("{} steps of batch {} at rate {}", d.local_steps, d.batch, d.lr)},
      {"server", fmt::format("{} at rate {}, downlink {}", d.server_optimizer, d.server_lr, d.down)},
      {"clock", config.settings.network.empty() ? "none" : config.settings.network},
      {"machine", fmt::format("{}, {} cores, laconic {}", config.machine.value("cpu", "unknown CPU"),
                              config.machine.value("cores", 0), config.machine.value("laconic", "?"))},
      {"date", config.date}};
  std::string html = "<dl>";
  for (const auto& [name, value] : facts) html += fmt::format("<dt>{}</dt><dd>{}</dd>", name, EscapeHtml(value));
  return html + "</dl>\n";
}

std::string HashTable(const FedFolder& folder) {
  std::vector<std::string> header = {"run", "model hash", "state hash", "rounds"};
  std::vector<std::vector<std::string>> rows;
  for (const PlannedRun& run : folder.config().runs) {
    const auto finished = folder.Finished(run.id);
    if (!finished.ok() || !finished->has_value()) continue;
    rows.push_back({run.id, HashText((*finished)->model_hash), HashText((*finished)->state_hash),
                    fmt::format("{}", (*finished)->rounds)});
  }
  return HtmlTable(header, rows);
}

}  // namespace

absl::StatusOr<std::string> FedPage(const FedFolder& folder, const Summary& summary) {
  const FedConfig& config = folder.config();
  LACONIC_ASSIGN_OR_RETURN(Json groups, GroupsOf(folder));
  const bool heat = !config.split.empty() && config.split.front().size() > 1;
  std::string body = fmt::format("<section>\n{}<h2>Results</h2>\n{}</section>\n", Facts(config), ResultsTable(summary));
  if (!groups.empty()) {
    body +=
        fmt::format("<section>\n<h2>Curves</h2>\n{}</section>\n", Charts(!summary.target_is_loss, summary.has_clock));
  }
  if (heat) {
    body += fmt::format(
        "<section>\n<h2>The split</h2>\n<article>\n<figure>\n{}<figcaption>Clients to the right{}, labels downwards; "
        "the "
        "stronger the colour, the more samples of that label the client has.</figcaption>\n</figure>\n</article>\n"
        "</section>\n",
        HaveUplot()
            ? "<div class=\"table\"><canvas class=\"split\" role=\"img\" aria-label=\"The split\"></canvas></div>\n"
            : "",
        config.split.size() < config.base.clients ? fmt::format(" (the first {})", config.split.size()) : "");
  }
  body += fmt::format("<section>\n<h2>The same again</h2>\n<pre>{}</pre>\n{}</section>\n", EscapeHtml(config.command),
                      HashTable(folder));
  const Json data = {{"groups", std::move(groups)}, {"split", heat ? Json(config.split) : Json::array()}};
  return WholePage({.title = "Laconic: " + config.name, .body = std::move(body), .script = assets::kFedJs}, data);
}

}  // namespace laconic::tools
