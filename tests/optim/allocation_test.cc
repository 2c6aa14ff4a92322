// A step of GradientSync, or of a DistributedOptimizer, allocates nothing once every size has been seen; nor does a
// round of a federated client, or of its server. Counted by replacing the global operator new of this binary.
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <new>

#include "tests/optim/distributed_optimizers.h"
#include "tests/optim/federated/quadratic.h"

namespace {
std::atomic<bool> counting = false;
std::atomic<int64_t> allocations = 0;

void* Allocate(std::size_t bytes, std::size_t alignment) {
  if (counting) ++allocations;
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(bytes == 0 ? 1 : bytes)
                     : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Inlined into a delete, without what it is the end of, GCC takes it for the wrong one.
[[gnu::noinline]] void Free(void* memory) { std::free(memory); }
}  // namespace

void* operator new(std::size_t bytes) { return Allocate(bytes, 1); }
void* operator new[](std::size_t bytes) { return Allocate(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete(void* memory, std::size_t) noexcept { Free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { Free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { Free(memory); }

namespace laconic {
namespace {

using testing::OnRanks;
using testing::Specs;
using testing::ToyTrainer;

// Steps [warm, warm + counted) of step(t) on every rank, together, with no allocation.
constexpr int kRanks = 4;
struct Window {
  uint64_t warm = 0, counted = 0;
  std::barrier<> start{kRanks}, stop{kRanks};

  absl::Status Run(const std::function<absl::Status(uint64_t)>& step) {
    for (uint64_t t = 0; t < warm; ++t) LACONIC_RETURN_IF_ERROR(step(t));
    start.arrive_and_wait();
    counting = true;
    absl::Status status;
    for (uint64_t t = warm; t < warm + counted && status.ok(); ++t) status = step(t);
    counting = false;  // the first rank to finish ends the count; the others are at most one step behind
    stop.arrive_and_wait();
    return status;
  }
};

class EverySpec : public ::testing::TestWithParam<std::string> {};

TEST_P(EverySpec, StepsAfterTheFirst_AllocateNothing) {
  Window window{.warm = 3, .counted = 5};
  allocations = 0;
  OnRanks(kRanks, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto sync, GradientSync::Create(&comm, trainer.parameters, GetParam(),
                                        {.seed = 5, .bucket_bytes = 4096, .min_bytes = 256, .clip_norm = 1e9}));
    return window.Run([&](uint64_t t) { return trainer.Step(*sync, t, 0.1f); });
  });
  EXPECT_EQ(allocations, 0);
}

INSTANTIATE_TEST_SUITE_P(All, EverySpec, ::testing::ValuesIn(Specs()),
                         [](const auto& info) { return "spec" + std::to_string(info.index); });

// Plans are made at the ends of steps 1 and 51: between them adaptive(...) allocates no more than a codec does.
INSTANTIATE_TEST_SUITE_P(
    Adaptive, EverySpec,
    ::testing::Values("adaptive(family=topk, budget=uniform:0.05, every=50, warmup=2, window=2)+ef+gather",
                      "adaptive(family=quantize, budget=uniform:4, every=50, warmup=2, window=50)+ef+scatter",
                      "adaptive(family=lowrank, budget=uniform:2, every=50, warmup=2, window=2)+econtrol+linear"),
    [](const auto& info) { return "spec" + std::to_string(info.index); });

class EveryOptimizer : public ::testing::TestWithParam<testing::OptimizerCase> {};

// By step 18 each optimizer is in its last phase and has made a step of each kind there.
TEST_P(EveryOptimizer, StepsOfTheLastPhase_AllocateNothing) {
  Window window{.warm = 18, .counted = 5};
  allocations = 0;
  OnRanks(kRanks, [&](Communicator& comm) -> absl::Status {
    ToyTrainer trainer(comm.rank());
    LACONIC_ASSIGN_OR_RETURN(
        auto optimizer, DistributedOptimizer::Create(&comm, trainer.parameters, GetParam().optimizer, GetParam().spec,
                                                     testing::SmallBuckets()));
    return window.Run([&](uint64_t t) { return trainer.Step(*optimizer, t, 0.01); });
  });
  EXPECT_EQ(allocations, 0);
}

INSTANTIATE_TEST_SUITE_P(All, EveryOptimizer, ::testing::ValuesIn(testing::OptimizerCases()),
                         [](const auto& info) { return info.param.name; });

class EveryFederatedMethod : public ::testing::TestWithParam<std::pair<std::string, std::string>> {};

// One client and its server. With differences on the downlink the server keeps a varying number of past messages; that
// queue alone may grow.
TEST_P(EveryFederatedMethod, RoundsAfterTheFirst_AllocateNothing) {
  FederatedPlan plan = QuadraticPlan(GetParam().first, GetParam().second);
  plan.clients = plan.sampled = 1;
  QuadraticObjective objective;
  auto server = FederatedServer::Create(plan, objective.parameters());
  auto client = FederatedClient::Create(plan, &objective);
  ASSERT_TRUE(server.ok() && client.ok()) << server.status();
  std::vector<std::vector<float>> vectors((*client)->method().client_vectors().size(),
                                          std::vector<float>(kQuadraticElements));
  const std::vector<std::span<float>> state(vectors.begin(), vectors.end());
  const auto round = [&]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(const auto broadcast, (*server)->Broadcast((*client)->known()));
    LACONIC_RETURN_IF_ERROR((*client)->Receive((*server)->round(), broadcast));
    LACONIC_ASSIGN_OR_RETURN(const FederatedClient::Result result, (*client)->Run(0, state));
    (*client)->Commit(state);
    const ClientUpdate update{.client = 0, .round = (*server)->round(), .bytes = result.bytes};
    LACONIC_RETURN_IF_ERROR((*server)->Check(update));
    return (*server)->Close({&update, 1});
  };
  for (int t = 0; t < 3; ++t) ASSERT_TRUE(round().ok());
  allocations = 0;
  counting = true;
  absl::Status status;
  for (int t = 0; t < 3 && status.ok(); ++t) status = round();
  counting = false;
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(allocations, 0);
}

INSTANTIATE_TEST_SUITE_P(All, EveryFederatedMethod,
                         ::testing::Values(std::pair{"fedavg", "identity"},
                                           std::pair{"fedpaq", "quantize(bits=2, rounding=stochastic)"},
                                           std::pair{"scallion", "randk(ratio=0.2, scale=unbiased, seed=rank)"},
                                           std::pair{"scafcom", "topk(ratio=0.1)"}, std::pair{"econtrol", "sign"},
                                           std::pair{"fed-ef", "composite(topk(ratio=0.1), sign)"}),
                         [](const auto& info) { return "method" + std::to_string(info.index); });

TEST(Counter, CountsAnAllocation) {
  allocations = 0;
  counting = true;
  std::vector<int>* grown = new std::vector<int>(100);
  counting = false;
  delete grown;
  EXPECT_EQ(allocations, 2);
}

}  // namespace
}  // namespace laconic
