// First-order optimizers over flat float arrays: the direction comes from GradientSync, the learning rate from the
// step.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/shape.h"
#include "laconic/base/state.h"
#include "laconic/comm/collectives/strategy.h"
#include "laconic/compressors/spec.h"
#include "laconic/optim/parameter.h"

namespace laconic {

// Thread-compatible; steps of different tensors may run on different threads. All arithmetic is elementwise with a
// fixed order of roundings, so ranks with equal weights and directions stay equal bit for bit.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Moves `weights` of tensor `id` along `direction`. Called once a step for each tensor; allocates nothing.
  virtual void Step(TensorId id, std::span<const float> direction, const StepContext& step,
                    std::span<float> weights) = 0;

  virtual std::string ToString() const = 0;  // canonical: "sgd(momentum=0.9, nesterov=false, weight_decay=0)"
  virtual void Save(StateWriter& out) const = 0;
  virtual absl::Status Load(const StateReader& in) = 0;
};

// SGD (Polyak 1964; Nesterov form of Sutskever et al. 2013, as PyTorch writes it), with weight decay added to the
// direction:
//   d <- d + weight_decay * w;   v <- momentum * v + d   (v = d at the first step);   w <- w - lr * (nesterov ? d +
//   momentum * v : v)
struct SgdOptions {
  float momentum = 0;
  bool nesterov = false;
  float weight_decay = 0;
};
std::unique_ptr<Optimizer> MakeSgd(const SgdOptions& options, std::span<const Parameter> parameters);

// AdamW (Loshchilov and Hutter 2019, Algorithm 2), bias-corrected, decay decoupled and multiplied by the learning rate:
//   m <- b1 m + (1-b1) d;  v <- b2 v + (1-b2) d^2;  w <- w - lr * ( (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) +
//   weight_decay * w )
struct AdamWOptions {
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float epsilon = 1e-8f;
  float weight_decay = 0;
};
std::unique_ptr<Optimizer> MakeAdamW(const AdamWOptions& options, std::span<const Parameter> parameters);

// How Adam's moments become a step, in what is made from it.
//   kAdamW      u = (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps);  w <- w - lr (u + weight_decay w): bias-corrected.
//   kPublished  u = m / (sqrt(v) + eps), otherwise alike: without bias correction, as the 1-bit optimizers' own code.
enum class AdamForm { kAdamW, kPublished };

// LAMB (You et al. 2020, arXiv 1904.00962, Algorithm 2): Adam's step, decay included, with a length of its own for each
// tensor, w <- w - lr trust (u + weight_decay w), trust = |w| / |u + weight_decay w| clipped; 1 where either is zero.
struct LambOptions {
  AdamWOptions adam;
  AdamForm form = AdamForm::kAdamW;
  float least_ratio = 0.01f, largest_ratio = 10;  // what trust is clipped to
};
std::unique_ptr<Optimizer> MakeLamb(const LambOptions& options, std::span<const Parameter> parameters);

// A named optimizer, as help texts and the README show it.
struct OptimizerInfo {
  std::string name;
  std::string summary;
  std::string travels;  // what ranks tell each other: "gradients"
  std::string keeps;    // the memory price, one float per element each: "m, v"
  std::string source;
  std::vector<ParameterInfo> parameters;
  std::string default_spec;  // how its source compresses what travels; empty: gradients, by whatever the user takes
};
// sgd, adamw, lamb.
std::span<const OptimizerInfo> ElementwiseOptimizers();

// "sgd(momentum=0.9, nesterov=true, weight_decay=1e-4)", "adamw(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01)".
absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(std::string_view spec, std::span<const Parameter> parameters);
absl::StatusOr<std::unique_ptr<Optimizer>> MakeOptimizer(const SpecCall& call, std::span<const Parameter> parameters);

// A learning rate for every step; a pure function of the step, so nothing is saved.
//   constant | step(every=1000, factor=0.1) | linear(total=N, final=0) | cosine(total=N, final=0), each with warmup=N
//   (linear from 0: step t of the warm-up has base * (t+1)/warmup)
// `step` multiplies by factor at each multiple of `every`; linear and cosine (Loshchilov and Hutter 2017, without
// restarts) go from base, where the warm-up ends, to the learning rate `final` at step `total`, and stay there.
class LearningRateSchedule {
 public:
  // InvalidArgument with column for a bad spec, or when base is not above 0.
  static absl::StatusOr<LearningRateSchedule> Parse(std::string_view spec, double base);
  double At(uint64_t step) const;
  std::string ToString() const;

 private:
  enum class Kind { kConstant, kStep, kLinear, kCosine };
  Kind kind_ = Kind::kConstant;
  double base_ = 0, factor_ = 1, final_ = 0;
  uint64_t warmup_ = 0, every_ = 1, total_ = 1;
};

}  // namespace laconic
