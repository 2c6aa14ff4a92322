#include "laconic/optim/gradient_sync.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/parallel.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/agreement.h"
#include "laconic/comm/comm_queue.h"
#include "optim/buckets.h"
#include "optim/gradient_clip.h"
#include "optim/replan.h"
#include "optim/sync_state.h"
#include "optim/tensor_rules.h"

namespace laconic {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kProtocolVersion = "1";

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// h = v = g and H = mean(g), wherever H is kept, after a dense step.
void StartFromDense(GradientSlot& slot) {
  slot.control.SetShift(slot.gradient, slot.direction);
  if (slot.control.options().keeps_momentum()) slot.control.SetMomentum(slot.gradient);
  if (slot.owner.options().keeps_momentum()) {
    slot.owner.SetMomentum(slot.direction.subspan(slot.owner_begin, slot.owner.elements()));
  }
}

class GradientSyncImpl final : public GradientSync {
 public:
  GradientSyncImpl(std::unique_ptr<Communicator> comm, const GradientSyncOptions& options)
      : comm_(std::move(comm)),
        options_(options),
        pool_(options.encode_threads),
        clip_(options.clip_norm, comm_->size()),
        queue_(options.overlap) {}

  absl::Status Init(std::span<const Parameter> parameters, std::string_view spec);

  void Begin(const StepContext& step) override;
  void MarkReady(TensorId id) override;
  absl::Status Finish() override;
  void ResetState() override;
  std::span<const float> direction(TensorId id) const override { return slots_[Index(id)]->direction; }
  const StepReport& report() const override { return report_; }
  std::string Describe() const override;
  void Save(StateWriter& out) const override;
  absl::Status Load(std::span<const StateReader> by_rank, ReshardRule rule) override;

 private:
  absl::Status MakeReplanners(std::span<const TensorRule> rules, const CodecRegistry& registry);
  absl::Status Handshake(std::span<const Parameter> parameters) const;
  absl::Status RunBucket(Bucket& bucket);  // on the queue's thread
  bool IsDense(const Bucket& bucket) const { return bucket.warmup != nullptr && step_.step < bucket.dense_steps; }
  AllreduceStrategy& StrategyOf(Bucket& bucket) { return IsDense(bucket) ? *bucket.warmup : *bucket.strategy; }
  void Commit(Bucket& bucket);
  void SubmitReadyBuckets();
  absl::Status Conclude();  // after all buckets succeeded: skip, fail or commit
  absl::Status ReplanIfDue();
  void FillReport();
  Traffic TotalTraffic() const;

  std::unique_ptr<Communicator> comm_;
  const GradientSyncOptions options_;
  WorkerPool pool_;
  std::string spec_;                  // canonical
  std::vector<Bucket> buckets_;       // in the order they are sent
  std::vector<GradientSlot*> slots_;  // by TensorId
  std::vector<Bucket*> bucket_of_;    // by TensorId
  std::vector<bool> ready_;           // by TensorId
  std::vector<std::unique_ptr<Replanner>> replanners_;
  size_t next_bucket_ = 0;  // the first that is not submitted
  StepContext step_;
  float error_scale_ = 1;
  double last_learning_rate_ = 0;  // of the last committed step; 0: none yet
  bool abandoned_ = false;  // queue thread: a bucket found something non-finite, the rest of the step is not sent
  double exposed_seconds_ = 0;
  GradientClip clip_;
  std::vector<std::span<float>> gradients_;  // by TensorId
  Traffic traffic_at_begin_;
  Traffic retired_;  // of strategies' own communicators that are no more
  StepReport report_;
  CommQueue queue_;  // last: its thread must end before what it uses
};

absl::Status GradientSyncImpl::Init(std::span<const Parameter> parameters, std::string_view spec) {
  if (parameters.empty()) return absl::InvalidArgumentError("GradientSync needs at least one parameter");
  std::set<std::string_view> names;
  for (const Parameter& parameter : parameters) {
    if (!names.insert(parameter.name).second) {
      return absl::InvalidArgumentError(fmt::format("two parameters are named {}", parameter.name));
    }
    if (parameter.gradient.size() != parameter.shape.elements()) {
      return absl::InvalidArgumentError(fmt::format("gradient of {} has {} elements, its shape {} {}", parameter.name,
                                                    parameter.gradient.size(), parameter.shape.ToString(),
                                                    parameter.shape.elements()));
    }
  }
  const CodecRegistry& registry = options_.registry != nullptr ? *options_.registry : CodecRegistry::BuiltIn();
  LACONIC_ASSIGN_OR_RETURN(const std::vector<SpecRule> parsed, ParseSpec(spec));
  spec_ = laconic::ToString(parsed);
  LACONIC_ASSIGN_OR_RETURN(const std::vector<TensorRule> rules,
                           MatchRules(parsed, registry, parameters, options_.min_bytes));
  for (const Parameter& parameter : parameters) gradients_.push_back(parameter.gradient);
  slots_.resize(parameters.size());
  bucket_of_.resize(parameters.size());
  ready_.resize(parameters.size());
  // Ranks that differ must learn it before any collective whose order the difference would change.
  LACONIC_RETURN_IF_ERROR(Handshake(parameters));
  LACONIC_ASSIGN_OR_RETURN(buckets_, MakeBuckets(*comm_, parameters, rules, options_, &pool_));
  for (Bucket& bucket : buckets_) {
    for (GradientSlot& slot : bucket.slots) {
      slots_[Index(slot.id)] = &slot;
      bucket_of_[Index(slot.id)] = &bucket;
    }
  }
  return MakeReplanners(rules, registry);
}

// One for each rule adaptive(...), over its tensors; those that travel dense have nothing to choose.
absl::Status GradientSyncImpl::MakeReplanners(std::span<const TensorRule> rules, const CodecRegistry& registry) {
  std::map<int, std::vector<Replanner::Tensor>> tensors;  // by group
  std::map<int, const Pipeline*> pipelines;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const StrategyKind travels = TravelsBy(*bucket_of_[i], comm_->size());
    if (!rules[i].pipeline->adaptive || travels == StrategyKind::kDense) continue;
    tensors[rules[i].group].push_back({.slot = slots_[i], .strategy = travels});
    pipelines[rules[i].group] = rules[i].pipeline.get();
  }
  ReplanSetting setting{.seed = options_.seed, .link = {}, .pool = &pool_, .ranks = comm_->size()};
  if (options_.link.bits_per_second > 0) setting.link = buckets_.front().options.link;
  for (const auto& [group, members] : tensors) {
    LACONIC_ASSIGN_OR_RETURN(replanners_.emplace_back(),
                             Replanner::Create(*pipelines[group], registry, members, setting));
  }
  return absl::OkStatus();
}

absl::Status GradientSyncImpl::Handshake(std::span<const Parameter> parameters) const {
  std::vector<AgreedFact> facts = {
      {"protocol version", std::string(kProtocolVersion)},
      {"spec", spec_},
      {"seed", fmt::format("{}", options_.seed)},
      {"options",
       fmt::format(
           "bucket_bytes={} min_bytes={} dense_warmup_steps={} clip_norm={} non_finite={} rescale_error={} link={}",
           options_.bucket_bytes, options_.min_bytes, options_.dense_warmup_steps, options_.clip_norm,
           static_cast<int>(options_.non_finite), options_.rescale_error, options_.link.ToString())},
      {"number of tensors", fmt::format("{}", parameters.size())}};
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    facts.push_back({fmt::format("name of tensor {}", i), parameter.name});
    facts.push_back({"shape of tensor " + parameter.name, parameter.shape.ToString()});
    facts.push_back({fmt::format("weights of tensor {} (XXH3 of its float32 values)", parameter.name),
                     fmt::format("{:016x}", Hash64(std::as_bytes(parameter.weights)))});
  }
  return AgreeOn(*comm_, facts);
}

void GradientSyncImpl::Begin(const StepContext& step) {
  step_ = step;
  error_scale_ = 1;
  if (options_.rescale_error && last_learning_rate_ > 0 && step.learning_rate > 0) {
    error_scale_ = static_cast<float>(last_learning_rate_ / step.learning_rate);
  }
  std::fill(ready_.begin(), ready_.end(), false);
  for (Bucket& bucket : buckets_) {
    bucket.waiting = bucket.slots.size();
    bucket.result = {};
  }
  next_bucket_ = 0;
  abandoned_ = false;
  exposed_seconds_ = 0;
  traffic_at_begin_ = TotalTraffic();
}

void GradientSyncImpl::MarkReady(TensorId id) {
  if (ready_[Index(id)]) return;
  ready_[Index(id)] = true;
  --bucket_of_[Index(id)]->waiting;
  if (clip_.active()) return;  // the norm needs all tensors: Finish sends
  const Clock::time_point begin = Clock::now();
  SubmitReadyBuckets();
  exposed_seconds_ += SecondsSince(begin);
}

// Buckets go out in plan order, whatever order their tensors came in: all ranks submit alike.
void GradientSyncImpl::SubmitReadyBuckets() {
  while (next_bucket_ < buckets_.size() && buckets_[next_bucket_].waiting == 0) {
    Bucket& bucket = buckets_[next_bucket_++];
    bucket.work = queue_.Submit([this, &bucket] { return RunBucket(bucket); });
  }
}

absl::Status GradientSyncImpl::RunBucket(Bucket& bucket) {
  if (abandoned_) return absl::OkStatus();
  const absl::Status status = StrategyOf(bucket).Run(*comm_, bucket.slots, step_, error_scale_, bucket.result);
  abandoned_ = bucket.result.non_finite.has_value();
  if (!status.ok()) comm_->Abort(status);  // the peers must not wait for a rank that has given up
  return status;
}

absl::Status GradientSyncImpl::Finish() {
  const Clock::time_point begin = Clock::now();
  absl::Status status = comm_->status();
  if (status.ok() && clip_.active()) status = clip_.Apply(*comm_, step_.step, gradients_);
  if (status.ok()) {
    for (uint32_t i = 0; i < ready_.size(); ++i) {
      if (ready_[i]) continue;
      ready_[i] = true;
      --bucket_of_[i]->waiting;
    }
    SubmitReadyBuckets();
  }
  for (size_t b = 0; b < next_bucket_; ++b) {
    if (absl::Status bucket = buckets_[b].work.Wait(); status.ok()) status = bucket;
  }
  exposed_seconds_ += SecondsSince(begin);
  if (status.ok()) status = Conclude();
  report_.plan.clear();
  if (status.ok()) status = ReplanIfDue();
  FillReport();
  return status;
}

absl::Status GradientSyncImpl::Conclude() {
  report_.skipped = false;
  report_.skip_reason.clear();
  for (Bucket& bucket : buckets_) {
    if (!bucket.result.non_finite) continue;
    const BucketResult::NonFinite& found = *bucket.result.non_finite;
    const std::string reason = fmt::format("step {}: gradient of tensor {} on rank {} is {} at index {}", step_.step,
                                           slots_[Index(found.tensor)]->name, found.rank, found.value, found.index);
    if (options_.non_finite == NonFinitePolicy::kFail) return absl::InvalidArgumentError(reason);
    report_.skipped = true;
    report_.skip_reason = reason;
    for (Bucket& other : buckets_) std::fill(other.directions.begin(), other.directions.end(), 0.0f);
    return absl::OkStatus();
  }
  for (const auto& replanner : replanners_) replanner->Observe(step_.step, error_scale_);
  for (Bucket& bucket : buckets_) Commit(bucket);
  last_learning_rate_ = step_.learning_rate;
  return absl::OkStatus();
}

void GradientSyncImpl::ResetState() {
  for (GradientSlot* slot : slots_) {
    slot->control = ErrorControl(slot->control.options(), slot->control.elements());
    slot->owner = ErrorControl(slot->owner.options(), slot->owner.elements());
  }
}

absl::Status GradientSyncImpl::ReplanIfDue() {
  bool changed = false;
  for (const auto& replanner : replanners_) {
    if (!replanner->Due(step_.step)) continue;
    const Clock::time_point begin = Clock::now();
    const absl::StatusOr<bool> made = replanner->Replan(*comm_, step_.step);
    if (!made.ok()) return made.status();
    changed = changed || *made;
    report_.plan += (report_.plan.empty() ? "" : " ") + replanner->PlanText();
    exposed_seconds_ += SecondsSince(begin);
  }
  return changed ? RemakeStrategies(buckets_, *comm_, /*keep_state=*/true, retired_) : absl::OkStatus();
}

void GradientSyncImpl::Commit(Bucket& bucket) {
  StrategyOf(bucket).Commit(bucket.slots);
  if (!IsDense(bucket)) return;
  for (GradientSlot& slot : bucket.slots) {
    if (slot.control.options().dense_start) StartFromDense(slot);
  }
}

Traffic GradientSyncImpl::TotalTraffic() const {
  Traffic total = comm_->traffic();
  total += retired_;
  for (const Bucket& bucket : buckets_) bucket.strategy->AddTraffic(total);
  return total;
}

void GradientSyncImpl::FillReport() {
  const Traffic now = TotalTraffic();
  report_.step = step_.step;
  report_.wire_bytes_sent = now.bytes_sent - traffic_at_begin_.bytes_sent;
  report_.wire_bytes_received = now.bytes_received - traffic_at_begin_.bytes_received;
  report_.exchange_seconds = absl::ToDoubleSeconds(now.waiting - traffic_at_begin_.waiting);
  report_.exposed_seconds = exposed_seconds_;
  report_.zeroed_elements = report_.logical_bytes = 0;
  report_.encode_seconds = report_.decode_seconds = 0;
  double message_norm2 = 0, residual_norm2 = 0, error_norm2 = 0;
  for (const Bucket& bucket : buckets_) {
    report_.logical_bytes += 4 * bucket.directions.size();
    report_.zeroed_elements += bucket.result.zeroed_elements;
    report_.encode_seconds += bucket.result.encode_seconds;
    report_.decode_seconds += bucket.result.decode_seconds;
    message_norm2 += bucket.result.message_norm2;
    residual_norm2 += bucket.result.residual_norm2;
    if (!options_.measure_error) continue;
    for (const GradientSlot& slot : bucket.slots) {
      for (float value : slot.control.error()) error_norm2 += static_cast<double>(value) * value;
    }
  }
  const uint64_t n = comm_->size();
  report_.dense_wire_bytes = 2 * (n - 1) * report_.logical_bytes / n;
  report_.relative_error = message_norm2 > 0 ? std::sqrt(residual_norm2 / message_norm2) : 0;
  report_.error_norm = std::sqrt(error_norm2);
}

std::string GradientSyncImpl::Describe() const {
  std::string text = fmt::format("spec {}\n", spec_);
  for (const Bucket& bucket : buckets_) {
    const Pipeline& pipeline = *bucket.pipeline;
    text += fmt::format("bucket of {} elements, {} by {}:", bucket.directions.size(),
                        pipeline.adaptive ? pipeline.adaptive->ToString() : pipeline.codec->ToString(),
                        bucket.strategy->ToString());
    for (const GradientSlot& slot : bucket.slots) text += fmt::format(" {}{}", slot.name, slot.shape.ToString());
    text += "\n";
  }
  for (const auto& replanner : replanners_) text += fmt::format("plan: {}\n", replanner->PlanText());
  return text;
}

void GradientSyncImpl::Save(StateWriter& out) const {
  out.Text("spec", spec_);
  out.U64("learning_rate", std::bit_cast<uint64_t>(last_learning_rate_));
  for (size_t i = 0; i < replanners_.size(); ++i) {
    StateWriter plan = out.Scope("plan").Scope(fmt::to_string(i));
    replanners_[i]->Save(plan);
  }
  StateWriter tensors = out.Scope("tensors");
  for (const Bucket& bucket : buckets_) {
    for (const GradientSlot& slot : bucket.slots) {
      StateWriter scope = tensors.Scope(slot.name);
      SaveSlot(slot, bucket.strategy->ToString(), scope);
    }
  }
}

absl::Status GradientSyncImpl::Load(std::span<const StateReader> by_rank, ReshardRule rule) {
  const int size = comm_->size();
  if (by_rank.empty()) return absl::InvalidArgumentError("GradientSync::Load needs the state of at least one rank");
  const bool reshard = static_cast<int>(by_rank.size()) != size;
  if (reshard && rule == ReshardRule::kNone) {
    return absl::FailedPreconditionError(
        fmt::format("state of {} ranks cannot continue on {} without a rule: choose mean (the correction still owed to "
                    "the weights is kept) or "
                    "reset (it is dropped)",
                    by_rank.size(), size));
  }
  const StateReader& own = by_rank[reshard ? 0 : comm_->rank()];
  LACONIC_ASSIGN_OR_RETURN(const std::string saved_spec, own.Text("spec"));
  if (saved_spec != spec_) {
    return absl::FailedPreconditionError(
        fmt::format("state was saved under spec \"{}\", this run has \"{}\"", saved_spec, spec_));
  }
  LACONIC_ASSIGN_OR_RETURN(const uint64_t learning_rate, own.U64("learning_rate"));
  for (size_t i = 0; i < replanners_.size(); ++i) {
    std::vector<StateReader> plans;
    for (const StateReader& in : by_rank) plans.push_back(in.Scope("plan").Scope(fmt::to_string(i)));
    LACONIC_RETURN_IF_ERROR(replanners_[i]->Load(plans, comm_->rank()));
  }
  LACONIC_RETURN_IF_ERROR(RemakeStrategies(buckets_, *comm_, /*keep_state=*/false, retired_));
  for (Bucket& bucket : buckets_) {
    for (GradientSlot& slot : bucket.slots) {
      if (!reshard) {
        LACONIC_RETURN_IF_ERROR(LoadSlot(own.Scope("tensors").Scope(slot.name), bucket.strategy->ToString(), slot));
      } else if (rule == ReshardRule::kMean) {
        LACONIC_RETURN_IF_ERROR(ReshardSlot(by_rank, comm_->rank(), size, slot));
      }
    }
  }
  last_learning_rate_ = std::bit_cast<double>(learning_rate);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GradientSync>> GradientSync::Create(Communicator* comm,
                                                                   std::span<const Parameter> parameters,
                                                                   std::string_view spec,
                                                                   const GradientSyncOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> own, comm->Duplicate());
  auto sync = std::make_unique<GradientSyncImpl>(std::move(own), options);
  LACONIC_RETURN_IF_ERROR(sync->Init(parameters, spec));
  return sync;
}

}  // namespace laconic
