// Strategy hierarchical: float32 inside a node, where the wire is fast, and another strategy between nodes, where it is
// not.
//
//   1  header among all ranks: every gradient finite, all at the same step
//   2  dense sum inside the node, scaled so that the mean over nodes is the mean over ranks
//   3  the node's first rank, its leader, runs the inner strategy with the other leaders; leaders alone keep error and
//   shift 4  the leader tells its node how that ended and broadcasts mean(s); every rank keeps the shift average H, so
//   directions agree
#include <algorithm>
#include <map>

#include "comm/collectives/strategies.h"
#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/dense.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic {
namespace {

struct Groups {
  std::unique_ptr<Communicator> node;     // the ranks of this node
  std::unique_ptr<Communicator> leaders;  // the nodes' first ranks; null on all others
  std::vector<int> leader_ranks;          // in the whole communicator
};

// How the inner strategy ended, as a leader tells its node.
struct Verdict {
  uint32_t failure = 0;  // absl::StatusCode
  int32_t bad_rank = -1;
  uint32_t bad_tensor = 0;
  float bad_value = 0;
  uint64_t bad_index = 0;
};

class HierarchicalStrategy final : public AllreduceStrategy {
 public:
  HierarchicalStrategy(Communicator& comm, std::span<const GradientSlot> bucket, const StrategyOptions& options,
                       Groups groups, std::unique_ptr<AllreduceStrategy> inner)
      : options_(options),
        fingerprint_(BucketFingerprint(bucket, "hierarchical", options.bucket)),
        groups_(std::move(groups)),
        inner_(std::move(inner)),
        node_weight_(static_cast<float>(groups_.leader_ranks.size()) / static_cast<float>(comm.size())),
        no_bodies_(comm.size(), 0),
        headers_(comm.size()) {
    size_t elements = 0;
    for (const GradientSlot& slot : bucket) elements += slot.gradient.size();
    node_gradient_.resize(elements);
    own_gradients_.resize(bucket.size());
  }

  std::string ToString() const override {
    return fmt::format("hierarchical({} nodes, {} between them)", groups_.leader_ranks.size(),
                       inner_ != nullptr ? inner_->ToString() : "its leader's strategy");
  }

  absl::Status Run(Communicator& comm, std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                   BucketResult& result) override {
    BucketHeader header{.fingerprint = fingerprint_, .step = step.step, .bucket = options_.bucket};
    {
      Stopwatch encode(result.encode_seconds);
      InspectGradients(bucket, options_.non_finite, header, result);
      float* out = node_gradient_.data();
      for (const GradientSlot& slot : bucket) out = std::copy(slot.gradient.begin(), slot.gradient.end(), out);
    }
    comm.SetPhase({.name = "hierarchical header", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(headers_.Run(comm, header, no_bodies_, absl::OkStatus(), bucket));
    result.non_finite = headers_.non_finite();
    if (result.non_finite) return absl::OkStatus();

    groups_.node->SetPhase({.name = "hierarchical node sum", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(AllreduceSum(*groups_.node, node_gradient_));
    Verdict verdict;
    absl::Status inner;
    if (inner_ != nullptr) {
      inner = RunInner(bucket, step, error_scale, result);
      verdict.failure = static_cast<uint32_t>(inner.code());
      if (result.non_finite) {
        verdict.bad_rank = groups_.leader_ranks[result.non_finite->rank];
        verdict.bad_tensor = Index(result.non_finite->tensor);
        verdict.bad_value = result.non_finite->value;
        verdict.bad_index = result.non_finite->index;
      }
    }
    groups_.node->SetPhase({.name = "hierarchical node broadcast", .step = step.step, .tensor = bucket.front().name});
    LACONIC_RETURN_IF_ERROR(Broadcast(*groups_.node, 0, std::as_writable_bytes(std::span(&verdict, 1))));
    LACONIC_RETURN_IF_ERROR(inner);
    if (verdict.failure != 0) {
      return absl::Status(static_cast<absl::StatusCode>(verdict.failure),
                          "this node's first rank failed between the nodes");
    }
    if (verdict.bad_rank >= 0) {  // finite on every rank, but the node's sum is not
      result.non_finite = BucketResult::NonFinite{.rank = verdict.bad_rank,
                                                  .tensor = TensorId{verdict.bad_tensor},
                                                  .index = verdict.bad_index,
                                                  .value = verdict.bad_value};
      return absl::OkStatus();
    }
    return Broadcast(*groups_.node, 0, std::as_writable_bytes(BucketDirections(bucket)));
  }

  void Commit(std::span<GradientSlot> bucket) override {
    if (inner_ != nullptr) {
      WithNodeGradients(bucket, [&] { inner_->Commit(bucket); });
    } else {
      for (GradientSlot& slot : bucket) slot.control.Direction(slot.direction);
    }
  }

  void AddTraffic(Traffic& total) const override {
    total += groups_.node->traffic();
    if (groups_.leaders != nullptr) total += groups_.leaders->traffic();
  }

 private:
  // The inner strategy sees the node's gradient where the rank's own was.
  void WithNodeGradients(std::span<GradientSlot> bucket, absl::FunctionRef<void()> body) {
    float* node = node_gradient_.data();
    for (size_t slot = 0; slot < bucket.size(); ++slot) {
      own_gradients_[slot] = bucket[slot].gradient;
      bucket[slot].gradient = {node, own_gradients_[slot].size()};
      node += own_gradients_[slot].size();
    }
    body();
    for (size_t slot = 0; slot < bucket.size(); ++slot) bucket[slot].gradient = own_gradients_[slot];
  }

  absl::Status RunInner(std::span<GradientSlot> bucket, const StepContext& step, float error_scale,
                        BucketResult& result) {
    for (float& value : node_gradient_) value *= node_weight_;
    absl::Status status;
    WithNodeGradients(bucket, [&] { status = inner_->Run(*groups_.leaders, bucket, step, error_scale, result); });
    return status;
  }

  const StrategyOptions options_;
  const uint64_t fingerprint_;
  Groups groups_;
  std::unique_ptr<AllreduceStrategy> inner_;  // null where this rank is not its node's first
  const float node_weight_;                   // nodes / ranks
  const std::vector<uint64_t> no_bodies_;
  HeaderExchange headers_;
  std::vector<float> node_gradient_;
  std::vector<std::span<float>> own_gradients_;
};

// Which node each rank is on: consecutive ranks, or by host.
absl::StatusOr<std::vector<int>> NodesOfRanks(Communicator& comm, int ranks_per_node) {
  std::vector<int> nodes(comm.size());
  if (ranks_per_node > 0) {
    for (int rank = 0; rank < comm.size(); ++rank) nodes[rank] = rank / ranks_per_node;
    return nodes;
  }
  const uint64_t own_host = Hash64(comm.host());
  std::vector<uint64_t> hosts(comm.size());
  LACONIC_RETURN_IF_ERROR(
      Allgather(comm, std::as_bytes(std::span(&own_host, 1)), std::as_writable_bytes(std::span(hosts))));
  std::map<uint64_t, int> index_of_host;
  for (int rank = 0; rank < comm.size(); ++rank) {
    nodes[rank] = index_of_host.emplace(hosts[rank], static_cast<int>(index_of_host.size())).first->second;
  }
  return nodes;
}

absl::StatusOr<Groups> SplitIntoNodes(Communicator& comm, int ranks_per_node) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<int> nodes, NodesOfRanks(comm, ranks_per_node));
  Groups groups;
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (std::find(nodes.begin(), nodes.begin() + rank, nodes[rank]) == nodes.begin() + rank)
      groups.leader_ranks.push_back(rank);
  }
  const bool leads =
      std::find(groups.leader_ranks.begin(), groups.leader_ranks.end(), comm.rank()) != groups.leader_ranks.end();
  LACONIC_ASSIGN_OR_RETURN(groups.node, comm.Split(nodes[comm.rank()], comm.rank()));
  LACONIC_ASSIGN_OR_RETURN(groups.leaders, comm.Split(leads ? 0 : -1, comm.rank()));
  return groups;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AllreduceStrategy>> MakeHierarchicalStrategy(const Pipeline& pipeline,
                                                                            Communicator& comm,
                                                                            std::span<GradientSlot> bucket,
                                                                            const StrategyOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(Groups groups, SplitIntoNodes(comm, pipeline.strategy.ranks_per_node));
  Pipeline between = pipeline;
  between.strategy = {.kind = pipeline.strategy.across, .dense_allowed = false};
  // Alike on all ranks of a node: fingerprints tell codecs apart.
  between = WithEntropyIfItPays(between, static_cast<int>(groups.leader_ranks.size()), bucket, options);
  std::unique_ptr<AllreduceStrategy> inner;
  if (groups.leaders != nullptr) {
    LACONIC_ASSIGN_OR_RETURN(inner, MakeStrategy(between, *groups.leaders, bucket, options));
  } else {
    // A follower keeps H alone: no error, no momentum.
    LACONIC_RETURN_IF_ERROR(SizeControls(between, bucket, [](const GradientSlot& slot) { return slot.shape; }));
    for (GradientSlot& slot : bucket) {
      const ControlOptions& leader = slot.control.options();
      slot.control = ErrorControl(
          {.alpha = leader.alpha, .participation = leader.participation, .dense_start = leader.dense_start},
          slot.shape.elements());
      slot.follows = true;
    }
  }
  LACONIC_RETURN_IF_ERROR(CheckAllTakePart("hierarchical", bucket));
  if (bucket.front().control.options().dense_start) {
    return absl::InvalidArgumentError(
        "hierarchical keeps shifts of nodes, and a dense step shows no node's gradient: it takes init=zero");
  }
  return std::make_unique<HierarchicalStrategy>(comm, bucket, options, std::move(groups), std::move(inner));
}

}  // namespace laconic
