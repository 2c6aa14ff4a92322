#include "optim/federated/recurrence_method.h"

#include <cassert>

#include "laconic/base/status.h"

namespace laconic::internal {

std::vector<std::string> RecurrenceMethod::client_vectors() const {
  std::vector<std::string> names;
  if (control_.keeps_error()) names.push_back("error");
  if (control_.keeps_shift()) names.push_back("shift");
  if (control_.keeps_momentum()) names.push_back("momentum");
  return names;
}

std::vector<std::string> RecurrenceMethod::server_vectors() const {
  return control_.keeps_shift() ? std::vector<std::string>{"shift_average"} : std::vector<std::string>{};
}

RecurrenceState<float> RecurrenceMethod::State(const ClientRound& round) const {
  size_t next = 0;  // in the order of client_vectors()
  const auto take = [&](bool kept) { return kept ? round.state[next++] : std::span<float>(); };
  RecurrenceState<float> state;
  state.error = take(control_.keeps_error());
  state.shift = take(control_.keeps_shift());
  state.momentum = take(control_.keeps_momentum());
  return state;
}

absl::Status RecurrenceMethod::Prepare(ClientRound& round) const {
  const RecurrenceState<float> state = State(round);
  LocalSteps steps{.proximity = local_.proximity};
  if (local_.corrected) {
    // c - c_i lies where the message will, which is formed when the steps are done.
    const std::span<const float> average = round.broadcast[0];
    for (size_t i = 0; i < average.size(); ++i) round.message[i] = average[i] - state.shift[i];
    steps.correction = round.message;
  }
  LACONIC_RETURN_IF_ERROR(TakeLocalSteps(round, steps));
  if (local_.corrected) {
    for (size_t i = 0; i < round.gradient.size(); ++i) round.gradient[i] -= round.message[i];  // G + c_i - c
  }
  FormMessage<float>(control_, round.gradient, state).Form(0, round.message);
  return absl::OkStatus();
}

void RecurrenceMethod::Commit(ClientRound& round, std::span<const float> sent) const {
  if (control_.keeps_error()) {
    for (size_t i = 0; i < sent.size(); ++i) round.message[i] -= sent[i];  // r = m - s
  }
  MoveState<float>(control_, round.gradient, round.message, sent, State(round));
}

void RecurrenceMethod::Update(ServerRound& round) const {
  if (!control_.keeps_shift()) return;
  const double rate = control_.alpha * round.participation;  // alpha |S| / N
  FormDirection<float>(round.mean_to_direction, round.state[0], static_cast<float>(rate), along_);
}

}  // namespace laconic::internal
