#include "examples/train/record.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <optional>
#include <system_error>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "nlohmann/json.hpp"

namespace laconic::train {
namespace {

using Json = nlohmann::ordered_json;

double Ratio(double of, double to) { return to > 0 ? of / to : 0; }

// The run that speed-ups are measured against.
const RunResult* DenseRun(std::span<const RunResult> results) {
  const auto dense = std::find_if(results.begin(), results.end(), [](const RunResult& r) { return r.spec == "dense"; });
  return dense == results.end() ? nullptr : &*dense;
}

std::optional<double> CommunicationSpeedUp(const RunResult& result, const RunResult* dense) {
  if (dense == nullptr) return std::nullopt;
  return Ratio(dense->totals.communication_seconds(), result.totals.communication_seconds());
}

}  // namespace

double HiddenSeconds(const StepReport& report) {
  return std::max(0.0,
                  report.encode_seconds + report.exchange_seconds + report.decode_seconds - report.exposed_seconds);
}

void Totals::Add(const StepFigures& figures, const StepReport& report) {
  logical_bytes += static_cast<double>(report.logical_bytes);
  dense_wire_bytes += static_cast<double>(report.dense_wire_bytes);
  wire_bytes += static_cast<double>(report.wire_bytes_sent);
  seconds += figures.seconds;
  compute_seconds += std::max(0.0, figures.seconds - report.exposed_seconds);
  encode_seconds += report.encode_seconds;
  exchange_seconds += report.exchange_seconds;
  decode_seconds += report.decode_seconds;
  exposed_seconds += report.exposed_seconds;
  relative_error_sum += report.relative_error;
  error_norm = report.error_norm;
  steps += 1;
  skipped += report.skipped;
}

void AddTo(std::vector<PhaseFigures>& phases, const StepReport& report) {
  if (report.phase.empty()) return;
  auto found = std::find_if(phases.begin(), phases.end(), [&](const auto& p) { return p.phase == report.phase; });
  if (found == phases.end()) found = phases.insert(found, {.phase = std::string(report.phase)});
  found->steps += 1;
  found->wire_bytes += static_cast<double>(report.wire_bytes_sent);
  found->dense_wire_bytes += static_cast<double>(report.dense_wire_bytes);
}

absl::StatusOr<Totals> MeanOverRanks(Communicator& comm, const Totals& own) {
  using Fields = std::array<double, sizeof(Totals) / sizeof(double)>;
  const Fields fields = std::bit_cast<Fields>(own);
  std::vector<Fields> all(comm.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(fields)), std::as_writable_bytes(std::span(all))));
  Fields mean{};
  for (const Fields& rank : all) {
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += rank[i] / comm.size();
  }
  return std::bit_cast<Totals>(mean);
}

Curve::Curve(uint64_t first_step, uint64_t total_steps, uint64_t steps_per_point)
    : first_step_(first_step),
      steps_per_point_(steps_per_point),
      points_((total_steps - std::min(first_step, total_steps) + steps_per_point - 1) / steps_per_point) {}

void Curve::Add(uint64_t step, double loss, const StepReport& report) {
  wire_bytes_ += static_cast<double>(report.wire_bytes_sent);
  Point& point = points_[(step - first_step_) / steps_per_point_];
  point.step = static_cast<double>(step + 1);
  point.wire_bytes = wire_bytes_;
  if (report.skipped) return;
  point.loss_sum += loss;
  point.losses += 1;
}

absl::StatusOr<Curve::Points> Curve::MeanOverRanks(Communicator& comm) const {
  const size_t ranks = static_cast<size_t>(comm.size());
  std::vector<Point> all(ranks * points_.size());
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(points_)), std::as_writable_bytes(std::span(all))));
  Points mean;
  for (size_t i = 0; i < points_.size(); ++i) {
    double loss = 0, losses = 0, wire_bytes = 0;
    for (size_t rank = 0; rank < ranks; ++rank) {
      const Point& point = all[rank * points_.size() + i];
      loss += point.loss_sum, losses += point.losses, wire_bytes += point.wire_bytes;
    }
    if (losses == 0) continue;
    mean.step.push_back(points_[i].step);
    mean.loss.push_back(loss / losses);
    mean.wire_bytes.push_back(wire_bytes / static_cast<double>(ranks));
  }
  return mean;
}

absl::StatusOr<MetricsFile> MetricsFile::Open(const std::string& path, bool append) {
  MetricsFile metrics;
  if (path.empty()) return metrics;
  metrics.file_.reset(std::fopen(path.c_str(), append ? "a" : "w"));
  if (metrics.file_ == nullptr) {
    return absl::UnavailableError(fmt::format("{}: {}", path, std::generic_category().message(errno)));
  }
  return metrics;
}

void MetricsFile::Write(const std::string& spec, const StepFigures& figures, const StepReport& report) {
  if (file_ == nullptr) return;
  Json line = {
      {"spec", spec},
      {"step", report.step},
      {"loss", figures.loss},
      {"learning_rate", figures.learning_rate},
      {"phase", report.phase},
      {"skipped", report.skipped},
      {"logical_bytes", report.logical_bytes},
      {"wire_bytes", report.wire_bytes_sent},
      {"wire_bytes_received", report.wire_bytes_received},
      {"dense_wire_bytes", report.dense_wire_bytes},
      {"ratio", Ratio(static_cast<double>(report.dense_wire_bytes), static_cast<double>(report.wire_bytes_sent))},
      {"relative_error", report.relative_error},
      {"error_norm", report.error_norm},
      {"zeroed_elements", report.zeroed_elements},
      {"encode_seconds", report.encode_seconds},
      {"exchange_seconds", report.exchange_seconds},
      {"decode_seconds", report.decode_seconds},
      {"exposed_seconds", report.exposed_seconds},
      {"hidden_seconds", HiddenSeconds(report)},
      {"backward_seconds", figures.backward_seconds},
      {"seconds", figures.seconds}};
  if (!report.plan.empty()) line["plan"] = report.plan;
  if (report.skipped) line["skip_reason"] = report.skip_reason;
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), file_.get());
  std::fflush(file_.get());  // a run that is killed leaves every finished step
}

std::string FormatTable(std::span<const RunResult> results) {
  size_t width = 4;
  for (const RunResult& result : results) width = std::max(width, result.spec.size());
  const RunResult* dense = DenseRun(results);
  std::string table =
      fmt::format("{:<{}}  {:>8}  {:>9}  {:>9}  {:>8}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>9}  {:>9}\n", "spec",
                  width, "test acc", "test loss", "MB sent", "vs dense", "seconds", "compute", "encode", "wait",
                  "decode", "comm gain", "|error|");
  for (const RunResult& result : results) {
    const Totals& t = result.totals;
    const std::optional<double> gain = CommunicationSpeedUp(result, dense);
    table += fmt::format(
        "{:<{}}  {:>8.4f}  {:>9.4f}  {:>9.2f}  {:>7.1f}x  {:>7.1f}  {:>7.1f}  {:>7.2f}  {:>7.2f}  {:>7.2f}  {:>9}  "
        "{:>9.3g}\n",
        result.spec, width, result.test.accuracy, result.test.loss, t.wire_bytes / 1e6,
        Ratio(t.dense_wire_bytes, t.wire_bytes), t.seconds, t.compute_seconds, t.encode_seconds, t.exchange_seconds,
        t.decode_seconds, gain ? fmt::format("{:.1f}x", *gain) : "-", t.error_norm);
  }
  for (const RunResult& result : results) {
    for (const PhaseFigures& phase : result.phases) {
      table += fmt::format(
          "{}, {}: {} steps, {:.3f} MB, {}\n", result.spec, phase.phase, phase.steps, phase.wire_bytes / 1e6,
          phase.wire_bytes > 0 ? fmt::format("{:.1f}x vs dense", Ratio(phase.dense_wire_bytes, phase.wire_bytes))
                               : "nothing sent");
    }
  }
  table +=
      "test loss: nats a prediction. MB sent: 10^6 bytes by one rank, headers included. vs dense: bytes of a ring\n"
      "allreduce by those. Times are sums of seconds over the steps; all figures are means over ranks. compute: the\n"
      "trainer did not wait. wait: inside the transport, hidden behind backward or not. comm gain: encode + wait +\n"
      "decode of dense by that of the row.\n";
  return table;
}

absl::Status WriteJson(const std::string& path, std::span<const RunResult> results) {
  const RunResult* dense = DenseRun(results);
  Json runs = Json::array();
  for (const RunResult& result : results) {
    const Totals& t = result.totals;
    Json run = {{"spec", result.spec},
                {"label", result.label.empty() ? result.spec : result.label},
                {"optimizer", result.optimizer},
                {"seed", result.seed},
                {"description", result.description},
                {"test_accuracy", result.test.accuracy},
                {"test_loss", result.test.loss},
                {"final_loss", result.final_loss},
                {"weight_hash", fmt::format("{:016x}", result.weight_hash)},
                {"steps", t.steps},
                {"skipped_steps", t.skipped},
                {"logical_bytes", t.logical_bytes},
                {"wire_bytes", t.wire_bytes},
                {"dense_wire_bytes", t.dense_wire_bytes},
                {"ratio", Ratio(t.dense_wire_bytes, t.wire_bytes)},
                {"seconds", t.seconds},
                {"compute_seconds", t.compute_seconds},
                {"encode_seconds", t.encode_seconds},
                {"exchange_seconds", t.exchange_seconds},
                {"decode_seconds", t.decode_seconds},
                {"exposed_seconds", t.exposed_seconds},
                {"mean_relative_error", Ratio(t.relative_error_sum, t.steps)},
                {"error_norm", t.error_norm}};
    for (const PhaseFigures& phase : result.phases) {
      run["phases"].push_back({{"phase", phase.phase},
                               {"steps", phase.steps},
                               {"wire_bytes", phase.wire_bytes},
                               {"dense_wire_bytes", phase.dense_wire_bytes}});
    }
    if (const std::optional<double> gain = CommunicationSpeedUp(result, dense)) run["communication_speed_up"] = *gain;
    const Curve::Points& curve = result.curve;
    if (curve.step.size() > 1) {  // what a step costs in the end, when any warm-up is over
      const size_t last = curve.step.size() - 1;
      run["last_step_wire_bytes"] =
          Ratio(curve.wire_bytes[last] - curve.wire_bytes[last - 1], curve.step[last] - curve.step[last - 1]);
    }
    run["curve"] = {{"step", curve.step}, {"loss", curve.loss}, {"wire_bytes", curve.wire_bytes}};
    runs.push_back(std::move(run));
  }
  const std::string text = Json{{"runs", runs}}.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  return WriteFileAtomically(path, std::as_bytes(std::span<const char>(text)));
}

absl::Status DumpGradients(const std::string& path, std::span<const Parameter> parameters) {
  StateArchive archive;
  StateWriter out(&archive);
  for (const Parameter& parameter : parameters) out.Floats(parameter.name, parameter.gradient, parameter.shape);
  return WriteStateFile(path, archive);
}

}  // namespace laconic::train
