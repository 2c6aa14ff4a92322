// Four ranks with data of their own fit one vector together, each sending 1 % of every gradient.
#include <cstdio>
#include <vector>

#include "laconic/comm/transport/in_process.h"
#include "laconic/optim/gradient_sync.h"
#include "laconic/optim/optimizer.h"

absl::Status Train(std::unique_ptr<laconic::Transport> transport) {
  laconic::Communicator comm(std::move(transport));
  std::vector<float> w(10000), gradient(10000);
  std::vector<laconic::Parameter> parameters = {{"w", {10000}, w, gradient}};
  auto sync = laconic::GradientSync::Create(&comm, parameters, "topk(ratio=0.01)+econtrol");
  if (!sync.ok()) return sync.status();
  auto sgd = laconic::MakeSgd({}, parameters);
  constexpr laconic::TensorId kW{0};
  uint64_t sent = 0, dense = 0;
  for (uint64_t t = 0; t < 3000; ++t) {
    const laconic::StepContext step = {.step = t, .learning_rate = 0.1};
    (*sync)->Begin(step);
    for (size_t i = 0; i < w.size(); ++i) gradient[i] = w[i] - comm.rank() * 0.001f * i;  // of |w - own target|^2 / 2
    (*sync)->MarkReady(kW);
    if (absl::Status status = (*sync)->Finish(); !status.ok()) return status;
    sgd->Step(kW, (*sync)->direction(kW), step, w);
    sent += (*sync)->report().wire_bytes_sent, dense += (*sync)->report().dense_wire_bytes;
  }
  if (comm.rank() == 0) {
    std::printf("w[2000] = %.4f; the mean of the targets 0, 2, 4, 6 is 3\n", w[2000]);
    std::printf("sent %.1f MB; a dense allreduce sends %.1f MB\n", sent / 1e6, dense / 1e6);
  }
  return absl::OkStatus();
}

int main() {
  const absl::Status status = laconic::RunInProcess(4, Train);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
