// Starts MPI as a single process and says who it is.
#include "laconic/comm/transport/mpi.h"

#include <cstdio>

int main(int argc, char** argv) {
  const auto environment = laconic::MpiEnvironment::Create(&argc, &argv);
  if (!environment.ok()) return std::fprintf(stderr, "%s\n", environment.status().ToString().c_str()), 1;
  const auto transport = laconic::MakeMpiTransport();
  if (!transport.ok()) return std::fprintf(stderr, "%s\n", transport.status().ToString().c_str()), 1;
  return (*transport)->rank() == 0 && (*transport)->size() == 1 ? 0 : 1;
}
