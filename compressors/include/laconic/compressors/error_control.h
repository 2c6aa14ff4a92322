// The whole error-feedback family as one recurrence (docs/design.md, section 3). For the gradient g, this rank's error
// e and shift h, the shift average H (equal on all ranks), feedback weight eta, message scale kappa, shift rate alpha:
//
//   m = kappa * (g - h + eta * e)      the message                    s = C(m)   what this rank's own bytes decode to
//   e <- e + g - h - s                 (kept only if eta > 0)         h <- h + alpha * s       (kept only if alpha > 0)
//   d = H + mean(s)                    the direction                  H <- H + alpha * p * mean(s)
//
// where p is the share of the ranks that took part in the step, and e was first multiplied by the decay (1 unless asked
// for) in all three lines.
// With a momentum, v <- a v + b g, and a v + c g takes the place of g above: b = c = 1 - a = beta averages gradients
// (EF21-SGDM); b = c = 1 adds them up (DGC, which zeroes v where something was sent). Whenever e is kept, kappa is 1,
// so that with the residual r = m - s the second line is e <- r + (1 - eta) e: that is how it is computed, and why
// codecs leave residuals.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/aligned.h"
#include "laconic/base/state.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/message.h"
#include "laconic/compressors/spec.h"

namespace laconic {

enum class ControlMethod { kNone, kEf, kEf21, kEf21Sgdm, kDiana, kEControl, kDgc };

// A method with its numbers; those left out are derived from the codec's traits (Resolve).
struct ControlSpec {
  ControlMethod method = ControlMethod::kNone;
  std::optional<double> eta;            // econtrol only, in (0, 1]; default: the codec's suggested eta
  std::optional<double> alpha;          // diana only, in (0, 1/(1+omega)]; default 1/(1+omega)
  std::optional<double> beta;           // ef21-sgdm and econtrol, in (0, 1]; defaults 0.1 and 1 (no momentum)
  std::optional<double> decay;          // ef and econtrol, in (0, 1]; default 1
  std::optional<double> momentum;       // dgc, in (0, 1]; default 0.9
  bool nesterov = false;                // dgc
  bool dense_start = false;             // ef21, ef21-sgdm, econtrol: init=dense
  std::optional<double> participation;  // all but none, in (0, 1]; default 1

  std::string ToString() const;  // canonical spec: "econtrol(eta=0.05)"
};

struct ControlInfo {
  ControlMethod method{};
  std::string name;  // "ef21-sgdm"
  std::string summary;
  std::string source;
  std::string keeps;  // "e, h, H": the memory price, one float per element each
  std::string needs;  // "contractive" | "unbiased" | "any"
  std::vector<ParameterInfo> parameters;
};
// none, ef, ef21, ef21-sgdm, diana, econtrol, dgc.
std::span<const ControlInfo> ControlTable();
const ControlInfo* FindControl(std::string_view name);
absl::StatusOr<ControlSpec> ParseControl(const SpecCall& call);

// v <- keep v + take g, and keep v + weight g takes the gradient's place.
struct Momentum {
  double keep = 0;  // 0: there is none
  double take = 1;
  double weight = 1;
  bool masked = false;  // v_i <- 0 where s_i != 0 (momentum factor masking; Lin et al. 2018)

  // The average of gradients in which the newest has weight beta; none at 1.
  static constexpr Momentum Average(double beta) { return {.keep = 1 - beta, .take = beta, .weight = beta}; }
};

// The numbers of the recurrence.
struct ControlOptions {
  double eta = 0;
  double kappa = 1;
  double alpha = 0;
  double decay = 1;  // of the error, before every use
  Momentum momentum = {};
  double participation = 1;     // the probability that a rank takes part in a step
  bool dense_start = false;     // dense steps leave h = v = g and H = mean(g): EF21's full initialisation
  bool averages_shifts = true;  // false: H lies with owners that send directions (OwnerSends)

  bool keeps_error() const { return eta > 0; }
  bool keeps_shift() const { return alpha > 0; }
  bool keeps_shift_average() const { return keeps_shift() && averages_shifts; }
  bool keeps_momentum() const { return momentum.keep > 0; }
  bool needs_sent() const { return keeps_shift() || momentum.masked; }  // Commit asks for s
};

// The recurrence's numbers for `spec` on a codec with `traits`, or InvalidArgument with the reason when the pair is
// illegal and, where one exists, the wrapper that makes it legal: "diana needs an unbiased codec and topk(ratio=0.01)
// is biased: ..." , "econtrol needs a contractive codec; randk(..., unbiased) has omega = 99: write scaled(randk(...)),
// delta = 0.01". ControlMethod::kNone takes any codec. An unbiased codec with omega < 1 is contractive with delta = 1 -
// omega and counts as such. ControlMethod::kEf, and nothing else, also takes a codec that only claims max_norm_delta:
// its error stays bounded in the largest element. Numbers out of range, or given to a method that has no use for them,
// are InvalidArgument too.
absl::StatusOr<ControlOptions> ResolveControl(const ControlSpec& spec, const Traits& traits,
                                              std::string_view codec_spec);

// What the owner of a shard sends in a two-phase collective, under error feedback of its own with error E.
//   kMean       C(mean(s) + E), of which every rank makes the direction: H + E = mean(h)
//   kDirection  C(d + E) for d = H + mean(s), which only the owner knows, and ranks step along what they get. In the
//               terms of EF21-P (Gruntkowska, Tyurin, Richtarik 2022, arXiv 2209.15218): ranks hold the model w, the
//               owner x = w - gamma E, and sends C(x+ - w)/gamma. So it is error feedback of the downlink on its own.
enum class OwnerSends { kMean, kDirection };

// The control of that owner: EF where the codec is contractive, or claims max_norm_delta, and the worker's method keeps
// state (without it the recurrence is silently wrong: docs/algorithms.md, section 5.1), else none. It decays as the worker's does, except
// beside shifts: there E is what H lacks of mean(h). H, where the owner alone keeps it, is its momentum: v + g goes out
// and v <- v + alpha g.
ControlOptions OwnerControl(const ControlOptions& worker, const Traits& traits, OwnerSends sends = OwnerSends::kMean);

// InvalidArgument, with the reason, where no owner's control is right: the worker's method keeps shifts and the codec
// is not contractive (diana on a codec with omega >= 1). What the owner's compression adds to H then stays there: H
// walks away from mean(h) at random and nothing converges. Nor is one right for shifts at a rate below 1 with ranks
// that come and go, where H moves at another rate each step. One-phase collectives take such pairs.
absl::Status CheckOwner(const ControlOptions& worker, const Traits& traits, std::string_view codec_spec);

// One tensor on one rank. Transactional: Prepare only says what the message is, and the codec leaves its residual in a
// shadow; Commit and Direction make the step real, and are called only once the collective has succeeded on all ranks.
// A Prepare that is never committed leaves no trace. So a rank that does not take part in a step simply does not
// Commit, but calls Direction like all others.
//
// Holds d scalars for each of e, h, H, v kept, all zero at first, and d for the shadow as soon as it is asked for.
// Commit and Direction are one pass each, every operation rounded, in the order their lines are written: the same bits
// on every machine. T is float in the library; the golden tests run the same code in double. One thread at a time.
template <typename T>
class BasicErrorControl {
 public:
  BasicErrorControl() = default;
  BasicErrorControl(const ControlOptions& options, size_t elements);

  const ControlOptions& options() const { return options_; }
  size_t elements() const { return elements_; }

  // The message of this step for gradient g (elements() scalars): views of g and of the state, valid until Commit.
  //   error_scale: what the kept error is multiplied by first, previous learning rate / current one
  //   (docs/algorithms.md, section 0: the error is kept in gradient units, so the virtual iterate stays exact); 1 when
  //   the rate did not change.
  BasicMessage<T> Prepare(std::span<const T> gradient, T error_scale = 1);

  // The shadow, elements() scalars: where EncodeResidual leaves r = m - s. Valid until Commit, which at eta = 1 makes
  // it the error, and the old error the next step's shadow. Allocated when first asked for.
  std::span<T> residual();

  // Makes the prepared step real, after the collective succeeded on all ranks. Allocates nothing.
  //   gradient: as given to Prepare.   residual: residual() now holds m - s (needed if keeps_error).
  //   sent: s, what this rank's own bytes decode to (may be empty unless needs_sent).
  void Commit(std::span<const T> gradient, std::span<const T> sent);

  // Turns mean(s), over the ranks that took part, into the direction in place, and moves H. Without H here (or shifts)
  // mean(s) is the direction.
  //   participation p = |S| / N.  At p = 1: d = H + mean(s).  Below 1, methods with alpha = 1 (EF21, EControl) step
  //   with the new H, d = H + p * mean(s); the others keep d = H + mean(s).
  void Direction(std::span<T> mean_sent_to_direction, T participation = 1);

  std::span<const T> error() const { return error_; }
  std::span<T> mutable_error() { return error_; }
  std::span<const T> shift() const { return shift_; }
  std::span<const T> shift_average() const { return shift_average_; }
  std::span<const T> momentum() const { return momentum_; }

  // Starts h, and H where it is kept, from given values (EControl's and EF21's full initialisation: h_i = g_i^0,
  // H = mean h_i).
  void SetShift(std::span<const T> shift, std::span<const T> shift_average);
  // Starts v from given values (the papers start it at g_i^0; zero only makes the first steps shorter).
  void SetMomentum(std::span<const T> momentum);

  // Entries "error", "shift", "shift_average", "momentum", as far as kept. Load: NotFound or DataLoss naming the entry,
  // and then nothing has changed. Float only: state archives hold floats.
  void Save(StateWriter& out) const;
  absl::Status Load(const StateReader& in);

 private:
  ControlOptions options_;
  size_t elements_ = 0;
  T error_scale_ = 1;
  AlignedVector<T> residual_, error_, shift_, shift_average_, momentum_;
};

template <>
void BasicErrorControl<double>::Save(StateWriter& out) const = delete;
template <>
absl::Status BasicErrorControl<double>::Load(const StateReader& in) = delete;

using ErrorControl = BasicErrorControl<float>;
extern template class BasicErrorControl<float>;
extern template class BasicErrorControl<double>;

}  // namespace laconic
