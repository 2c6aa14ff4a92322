// Private: which step of 0/1 Adam does what (Lu et al. 2022, arXiv 2202.06009). Nothing but counting, so all ranks
// agree without a word.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic {

struct ZeroOneOptions {
  uint64_t var_freeze_step = 1000;    // steps of the first part
  uint64_t kappa = 16;                // variance rounds before their interval doubles
  uint64_t local_step_scaler = 1000;  // steps of the second part before the interval between exchanges doubles
  uint64_t local_step_clipper = 16;   // the longest interval
};

// First part, steps s = 1 ... var_freeze_step: a variance round where s is a multiple of the interval, which starts at
// 1 and doubles after every kappa rounds; else the gradient's round. Second part, s = 1, 2, ... anew: an exchange where
// s is a multiple of the interval, which starts at 1 and doubles after every local_step_scaler steps up to
// local_step_clipper; else a local step.
class ZeroOneSchedule {
 public:
  enum class Kind { kVariance, kGradient, kExchange, kLocal };

  explicit ZeroOneSchedule(const ZeroOneOptions& options) : options_(options) {}

  bool variance_frozen() const { return done_ >= options_.var_freeze_step; }
  uint64_t done() const { return done_; }                        // steps of both parts
  uint64_t variance_rounds() const { return variance_rounds_; }  // so far

  // What the next step is.
  Kind Next() const {
    if (!variance_frozen()) return (done_ + 1) % interval_ == 0 ? Kind::kVariance : Kind::kGradient;
    return (done_ - options_.var_freeze_step + 1) % interval_ == 0 ? Kind::kExchange : Kind::kLocal;
  }
  // It is done.
  void Advance() {
    const Kind kind = Next();
    ++done_;
    if (kind == Kind::kVariance) {
      ++variance_rounds_;
      Count(options_.kappa, UINT64_MAX / 2);
    }
    if (kind == Kind::kExchange || kind == Kind::kLocal) Count(options_.local_step_scaler, options_.local_step_clipper);
    if (done_ == options_.var_freeze_step) {
      interval_ = 1;
      counted_ = 0;
    }
  }

  void Save(StateWriter& out) const {
    out.U64("done", done_);
    out.U64("variance_rounds", variance_rounds_);
    out.U64("interval", interval_);
    out.U64("counted", counted_);
  }
  absl::Status Load(const StateReader& in) {
    LACONIC_ASSIGN_OR_RETURN(done_, in.U64("done"));
    LACONIC_ASSIGN_OR_RETURN(variance_rounds_, in.U64("variance_rounds"));
    LACONIC_ASSIGN_OR_RETURN(interval_, in.U64("interval"));
    LACONIC_ASSIGN_OR_RETURN(counted_, in.U64("counted"));
    return interval_ > 0 ? absl::OkStatus() : absl::DataLossError(in.prefix() + "interval is 0");
  }

 private:
  // One more of `until`; then the interval doubles, up to `longest`.
  void Count(uint64_t until, uint64_t longest) {
    if (++counted_ < until) return;
    counted_ = 0;
    interval_ = std::min(longest, 2 * interval_);
  }

  ZeroOneOptions options_;
  uint64_t done_ = 0, variance_rounds_ = 0;
  uint64_t interval_ = 1, counted_ = 0;
};

}  // namespace laconic
