// Two ranks agree on a direction. Exits with 0 when it is the mean of their gradients.
#include <cstdio>
#include <vector>

#include "laconic/comm/transport/in_process.h"
#include "laconic/optim/gradient_sync.h"

namespace {

absl::Status Train(std::unique_ptr<laconic::Transport> transport) {
  laconic::Communicator comm(std::move(transport));
  std::vector<float> weights(4), gradient(4, comm.rank() == 0 ? 1.0f : 3.0f);
  const laconic::Parameter parameter = {"w", laconic::Shape({4}), weights, gradient};
  auto sync = laconic::GradientSync::Create(&comm, {&parameter, 1}, "dense");
  if (!sync.ok()) return sync.status();
  (*sync)->Begin({});
  const absl::Status status = (*sync)->Finish();
  if (!status.ok()) return status;
  for (const float d : (*sync)->direction(laconic::TensorId{0})) {
    if (d != 2) return absl::InternalError("direction is not the mean");
  }
  return absl::OkStatus();
}

}  // namespace

int main() {
  const absl::Status status = laconic::RunInProcess(2, Train);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
