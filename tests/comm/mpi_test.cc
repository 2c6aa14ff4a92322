// The transport over MPI processes, run at several rank counts. What ends a job is tested by mpi_fault.cc.
#include "laconic/comm/transport/mpi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <tuple>

#include "comm/transport/mpi_c.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/collectives/primitives.h"
#include "laconic/comm/comm_queue.h"
#include "laconic/comm/communicator.h"
#include "laconic/comm/transport/in_process.h"
#include "laconic/comm/transport/paced.h"
#include "tests/comm/transport_checks.h"

namespace laconic {
namespace {

std::unique_ptr<Transport> MakeTransport(size_t max_piece_bytes = MpiTransportOptions().max_piece_bytes) {
  auto transport = MakeMpiTransport({.max_piece_bytes = max_piece_bytes});
  EXPECT_TRUE(transport.ok()) << transport.status();
  return *std::move(transport);
}

// --- The checks of every transport, whole and in pieces; 1000 divides some message lengths and not others ---

class MpiConformance : public ::testing::TestWithParam<std::tuple<size_t, testing::TransportCheck>> {};

TEST_P(MpiConformance, Holds) {
  const auto& [max_piece_bytes, check] = GetParam();
  const auto transport = MakeTransport(max_piece_bytes);
  const absl::Status status = check.run(*transport);
  EXPECT_TRUE(status.ok()) << "rank " << transport->rank() << ": " << status;
}

INSTANTIATE_TEST_SUITE_P(Mpi, MpiConformance,
                         ::testing::Combine(::testing::Values(size_t{1} << 30, 1000),
                                            ::testing::ValuesIn(testing::TransportChecks())),
                         [](const ::testing::TestParamInfo<MpiConformance::ParamType>& info) {
                           return std::string(std::get<1>(info.param).name) +
                                  (std::get<0>(info.param) == 1000 ? "_InPiecesOf1000Bytes" : "");
                         });

TEST(Mpi, EveryPieceLength_CarriesMessagesOfLengthsAroundIt) {
  for (const size_t piece : {1, 2, 3, 8}) {
    const auto transport = MakeTransport(piece);
    if (transport->size() == 1) return;
    const int next = (transport->rank() + 1) % transport->size();
    const int previous = (transport->rank() + transport->size() - 1) % transport->size();
    for (size_t length = 0; length <= 17; ++length) {
      const std::vector<std::byte> out(length, static_cast<std::byte>(transport->rank() + 1));
      std::vector<std::byte> in(length);
      const Outgoing send{next, out};
      const Incoming receive{previous, in};
      ASSERT_EQ(testing::ExchangeSoon(*transport, std::span(&send, 1), std::span(&receive, 1)), absl::OkStatus());
      ASSERT_EQ(in, std::vector<std::byte>(length, static_cast<std::byte>(previous + 1)));
    }
  }
}

TEST(Mpi, PieceLengthOutOfRange_IsInvalidArgument) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeMpiTransport({.max_piece_bytes = 0}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeMpiTransport({.max_piece_bytes = size_t{1} << 31}).status()));
  EXPECT_EQ(MakeMpiTransport({.remote_piece_bytes = 0}).status(),
            absl::InvalidArgumentError("remote_piece_bytes 0 is not in 1 to 1073741824"));
}

TEST(Mpi, Host_IsTheSameOnOneMachine) {
  Communicator comm(MakeTransport());
  EXPECT_FALSE(comm.host().empty());
  std::array<char, 64> first{};
  std::memcpy(first.data(), comm.host().data(), std::min(first.size() - 1, comm.host().size()));
  const std::array<char, 64> own = first;
  ASSERT_EQ(Broadcast(comm, 0, std::as_writable_bytes(std::span(first))), absl::OkStatus());
  EXPECT_EQ(first, own);
}

TEST(Mpi, TransportFromATrainersCommunicator_HasItsRanks) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm reversed = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, 0, -rank, &reversed);
  {
    const auto transport = MakeMpiTransportFromHandle(MPI_Comm_c2f(reversed));
    ASSERT_TRUE(transport.ok());
    EXPECT_EQ((*transport)->rank(), (*transport)->size() - 1 - rank);
  }
  MPI_Comm_free(&reversed);
}

TEST(Mpi, NullCommunicator_IsInvalidArgument) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeMpiTransportFromHandle(MPI_Comm_c2f(MPI_COMM_NULL)).status()));
}

TEST(Mpi, EnvironmentOfAnInitialisedProgram_LeavesMpiRunning) {
  {
    const auto second = MpiEnvironment::Create(nullptr, nullptr);
    EXPECT_TRUE(second.ok()) << second.status();
  }
  int finalized = 1;
  MPI_Finalized(&finalized);
  EXPECT_FALSE(finalized);
}

// --- What is built on it ---

std::vector<float> RoughInput(int rank, size_t length) {
  std::vector<float> values(length);
  for (size_t i = 0; i < length; ++i) {
    values[i] = std::ldexp(static_cast<float>((i * 37 + rank * 101) % 1009) - 500.0f, (i + 3 * rank) % 23);
  }
  return values;
}

// The order of additions is ours, so processes and threads agree bit for bit, whole or in pieces.
TEST(Mpi, Allreduce_GivesTheBitsOfInProcessRanks) {
  for (const auto algorithm : {DenseAlgorithm::kRing, DenseAlgorithm::kHalvingDoubling}) {
    for (const size_t piece : {size_t{1} << 30, size_t{1000}}) {
      Communicator comm(MakeTransport(piece));
      std::vector<float> values = RoughInput(comm.rank(), 30'011);
      ASSERT_EQ(AllreduceMean(comm, values, algorithm), absl::OkStatus());

      std::vector<float> expected;
      ASSERT_EQ(RunInProcess(comm.size(),
                             [&](std::unique_ptr<Transport> transport) {
                               Communicator thread(std::move(transport));
                               std::vector<float> own = RoughInput(thread.rank(), 30'011);
                               LACONIC_RETURN_IF_ERROR(AllreduceMean(thread, own, algorithm));
                               if (thread.rank() == 0) expected = own;
                               return absl::OkStatus();
                             }),
                absl::OkStatus());
      EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0);
    }
  }
}

TEST(Mpi, SplitAndDuplicate_Work) {
  Communicator comm(MakeTransport());
  const auto pair = comm.Split(comm.rank() / 2, -comm.rank());
  ASSERT_TRUE(pair.ok()) << pair.status();
  const auto copy = (*pair)->Duplicate();
  ASSERT_TRUE(copy.ok()) << copy.status();
  float sum = static_cast<float>(comm.rank());
  ASSERT_EQ(AllreduceSum(**copy, std::span(&sum, 1)), absl::OkStatus());
  const bool alone = (*copy)->size() == 1;
  EXPECT_EQ(sum, alone ? comm.rank() : comm.rank() / 2 * 4 + 1) << "2 r + (2 r + 1)";
  const auto nobody = comm.Split(-1, 0);
  ASSERT_TRUE(nobody.ok());
  EXPECT_EQ(*nobody, nullptr);
}

// The queue thread works on a duplicate while the main thread uses the original: MPI_THREAD_SERIALIZED must suffice.
TEST(Mpi, QueueThreadAndMainThread_MayCommunicateAtOnce) {
  Communicator comm(MakeTransport());
  const auto copy = comm.Duplicate();
  ASSERT_TRUE(copy.ok()) << copy.status();
  std::vector<float> on_queue(5000, 1.0f), on_main(5000, 2.0f);
  CommQueue queue;
  std::vector<Work> works;
  for (int i = 0; i < 10; ++i) works.push_back(queue.Submit([&] { return AllreduceMean(**copy, on_queue); }));
  for (int i = 0; i < 10; ++i) ASSERT_EQ(AllreduceMean(comm, on_main), absl::OkStatus());
  for (Work& work : works) ASSERT_EQ(work.Wait(), absl::OkStatus());
  EXPECT_EQ(on_queue, std::vector<float>(5000, 1.0f));
  EXPECT_EQ(on_main, std::vector<float>(5000, 2.0f));
}

// Ranks are processes of one machine, so they share the clock that the time stamps are read from. 125,000 bytes take 10
// ms at 100 Mbit/s.
TEST(Mpi, PacedLink_DelaysByItsModel) {
  const auto transport = MakePacedTransport(MakeTransport(), {.bits_per_second = 100e6});
  if (transport->size() == 1) return;
  const std::vector<std::byte> out(125'000);
  std::vector<std::byte> in(out.size());
  const Outgoing send{(transport->rank() + 1) % transport->size(), out};
  const Incoming receive{(transport->rank() + transport->size() - 1) % transport->size(), in};
  const absl::Time start = absl::Now();
  ASSERT_EQ(testing::ExchangeSoon(*transport, std::span(&send, 1), std::span(&receive, 1)), absl::OkStatus());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(10));
}

}  // namespace
}  // namespace laconic
