// The recurrence of error_control.h over state that lies elsewhere: for a framework that keeps the vectors of many
// clients and lends them out one after the other. ErrorControl is this over vectors of its own.
#pragma once

#include <span>

#include "laconic/compressors/error_control.h"
#include "laconic/compressors/message.h"

namespace laconic {

// What one rank or client keeps from step to step: d scalars each, empty where the options keep none.
template <typename T>
struct RecurrenceState {
  std::span<T> error;     // e
  std::span<T> shift;     // h
  std::span<T> momentum;  // v
};

// The message m = kappa (g - h + eta e) of a step for gradient g, as views of g and of the state.
//   error_scale: what the kept error is multiplied by before every use, the decay of the options besides.
template <typename T>
BasicMessage<T> FormMessage(const ControlOptions& options, std::span<const T> gradient, const RecurrenceState<T>& state,
                            T error_scale = 1);

// e <- r + (1 - eta) e,  h <- h + alpha s,  v <- keep v + take g, as far as kept: one pass, every operation rounded in
// this order.
//   gradient, error_scale: as given to FormMessage.   residual: r = m - s (needed if keeps_error).
//   sent: s, what the message's own bytes decode to (needed if needs_sent).
// Where the state has no error span although the options keep one, the caller has moved the error already: at eta = 1
// the residual is the new error, and may simply take its place.
template <typename T>
void MoveState(const ControlOptions& options, std::span<const T> gradient, std::span<const T> residual,
               std::span<const T> sent, const RecurrenceState<T>& state, T error_scale = 1);

// What a step goes along where ranks come and go.
enum class StepAlong {
  kAveragePlusMean,  // d = H + mean(s): an estimate of the gradient by those who took part
  kNewAverage,       // d = H + rate * mean(s), the new H
};

// Turns mean(s) into the direction d in place, and moves H <- H + rate * mean(s).
//   shift_average: H, as long as the mean.   rate: alpha * |S| / N.
template <typename T>
void FormDirection(std::span<T> mean_sent_to_direction, std::span<T> shift_average, T rate, StepAlong along);

}  // namespace laconic
