#include "comm/server/grpc/metrics.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace laconic::internal {
namespace {

// One metric with one value.
void Append(std::string& text, std::string_view type, std::string_view name, std::string_view help, double value) {
  fmt::format_to(std::back_inserter(text), "# HELP laconic_{0} {1}\n# TYPE laconic_{0} {2}\nlaconic_{0} {3}\n", name,
                 help, type, value);
}

}  // namespace

std::string_view MethodName(Method method) {
  static constexpr std::string_view kNames[] = {"Register", "NextTask", "Pull", "Push", "Heartbeat", "Status"};
  return kNames[static_cast<size_t>(method)];
}

MachineSnapshot MachineSnapshot::Of(const RoundMachine& machine) {
  return {.counters = machine.counters(),
          .open_round = machine.open_round(),
          .rounds = machine.options().run.rounds,
          .participants = machine.participants(),
          .accepted = machine.accepted(),
          .bytes_in_flight = machine.bytes_in_flight(),
          .reservations = machine.reservations(),
          .last_round_duration = machine.last_round_duration(),
          .failure = machine.failure()};
}

void Metrics::Set(MachineSnapshot snapshot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  machine_ = std::move(snapshot);
}

MachineSnapshot Metrics::machine() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return machine_;
}

std::string Metrics::Text(const Listener::Counts& connections, uint64_t push_batches) const {
  const MachineSnapshot machine = this->machine();
  std::string text;
  const auto counter = [&](std::string_view name, std::string_view help, double value) {
    Append(text, "counter", name, help, value);
  };
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    Append(text, "gauge", name, help, value);
  };
  gauge("open_round", "The open round, from 0; equal to rounds when the run is finished", machine.open_round);
  gauge("rounds", "Rounds of the run", machine.rounds);
  gauge("participants", "Clients asked in the open round", machine.participants);
  gauge("accepted", "Updates accepted in the open round", machine.accepted);
  gauge("bytes_in_flight", "Bytes admitted and not yet pushed", machine.bytes_in_flight);
  gauge("uploads", "Admissions not yet pushed", machine.reservations);
  gauge("last_round_seconds", "From opening to close", absl::ToDoubleSeconds(machine.last_round_duration));
  gauge("run_failed", "1 if the run cannot go on", machine.failure.ok() ? 0 : 1);
  ForEachCounter([&](Counter which) {
    counter(fmt::format("{}_total", CounterName(which)), "Of the run, see laconic/comm/server/counters.h",
            machine.counters[which]);
  });

  fmt::format_to(std::back_inserter(text),
                 "# HELP laconic_calls_total Calls ended\n# TYPE laconic_calls_total counter\n");
  for (size_t method = 0; method < calls.size(); ++method) {
    for (size_t code = 0; code < kCodes; ++code) {
      if (const uint64_t count = calls[method][code]; count > 0) {
        fmt::format_to(std::back_inserter(text), "laconic_calls_total{{method=\"{}\",code=\"{}\"}} {}\n",
                       MethodName(static_cast<Method>(method)),
                       absl::StatusCodeToString(static_cast<absl::StatusCode>(code)), count);
      }
    }
  }
  counter("received_bytes_total", "Bytes of updates that arrived", received_bytes);
  counter("sent_bytes_total", "Bytes of broadcasts handed to gRPC", sent_bytes);
  counter("push_batches_total", "Writes of the journal that took pushes", push_batches);
  gauge("waiting_calls", "NextTask calls that wait for work", waiting);
  counter("refused_identities_total", "Calls whose certificate is not the client's, or not allowed",
          refused_identities);
  counter("refused_calls_total", "Calls above a client's limit", refused_calls);
  counter("ended_transfers_total", "Uploads and downloads ended for being too slow", ended_transfers);
  gauge("connections", "Open connections", connections.open);
  counter("connections_total", "Connections accepted", connections.accepted);
  counter("refused_connections_total", "Connections above the budget", connections.refused);
  counter("silent_connections_total", "Connections closed because they said nothing", connections.silent);
  counter("probes_total", "Times the server dialled itself", probes);
  counter("failed_probes_total", "Times it got no answer", failed_probes);
  counter("rebuilds_total", "Times it opened its listening socket and server anew", rebuilds);
  return text;
}

}  // namespace laconic::internal
