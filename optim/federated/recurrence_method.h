// The federated methods that are the recurrence m = kappa (g - h + eta e), s = C(m) of compressors/recurrence.h with a
// client in the place of a rank: all the built-in ones. A method is then three sets of numbers and a name.
#pragma once

#include <string>
#include <vector>

#include "laconic/compressors/recurrence.h"
#include "laconic/optim/federated/method.h"

namespace laconic::internal {

// How g_i comes about.
struct LocalRule {
  // Local steps go along grad F_i + c - c_i, with the server's shift average c and the client's shift c_i; g_i is the
  // mean of grad F_i all the same. Needs a control that keeps shifts; c is broadcast.
  bool corrected = false;
  double proximity = 0;  // mu of mu (y - x), added to each gradient
};

class RecurrenceMethod final : public FederatedMethod {
 public:
  // spec: canonical.   along: where the control keeps shifts.
  RecurrenceMethod(std::string spec, const ControlOptions& control, const LocalRule& local = {},
                   StepAlong along = StepAlong::kAveragePlusMean)
      : spec_(std::move(spec)), control_(control), local_(local), along_(along) {}

  std::string ToString() const override { return spec_; }
  std::vector<std::string> client_vectors() const override;  // of "error", "shift", "momentum" what the control keeps
  std::vector<std::string> server_vectors() const override;  // "shift_average"
  size_t broadcast_vectors() const override { return local_.corrected ? 1 : 0; }

  absl::Status Prepare(ClientRound& round) const override;
  void Commit(ClientRound& round, std::span<const float> sent) const override;
  void Update(ServerRound& round) const override;

 private:
  RecurrenceState<float> State(const ClientRound& round) const;

  const std::string spec_;
  const ControlOptions control_;
  const LocalRule local_;
  const StepAlong along_;
};

}  // namespace laconic::internal
