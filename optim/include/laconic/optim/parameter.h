// A trainable tensor as the trainer owns it.
#pragma once

#include <span>
#include <string>

#include "laconic/base/shape.h"

namespace laconic {

// The spans must stay valid and in place while a GradientSync or an Optimizer made from them lives.
struct Parameter {
  std::string name;  // unique; keys all state, matched by spec patterns: "fc1.weight"
  Shape shape;
  std::span<float> weights;   // shape.elements()
  std::span<float> gradient;  // shape.elements(), written by backward
};

}  // namespace laconic
