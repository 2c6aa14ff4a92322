// main() of tests that run as MPI processes: every rank runs the same tests in the same order.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "laconic/comm/transport/mpi.h"

int main(int argc, char** argv) {
  const auto environment = laconic::MpiEnvironment::Create(&argc, &argv);
  if (!environment.ok()) {
    fmt::print(stderr, "{}\n", environment.status().ToString());
    return EXIT_FAILURE;
  }
  ::testing::InitGoogleTest(&argc, argv);
  {
    const auto transport = laconic::MakeMpiTransport();
    if (transport.ok() && (*transport)->rank() != 0) GTEST_FLAG_SET(brief, true);  // others speak only of failures
  }
  return RUN_ALL_TESTS();
}
