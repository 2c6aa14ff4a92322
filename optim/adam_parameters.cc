#include "optim/adam_parameters.h"

#include <array>
#include <limits>

#include "fmt/format.h"

namespace laconic {
namespace {

constexpr float kBelowOne = 1 - std::numeric_limits<float>::epsilon() / 2;  // stays below 1 as a float
constexpr float kAboveZero = std::numeric_limits<float>::min();
constexpr double kLargest = std::numeric_limits<float>::max();

}  // namespace

std::vector<ParameterInfo> AdamParameters() {
  return {{"beta1", "number in [0, 1)", "0.9", "decay of the first moment"},
          {"beta2", "number in [0, 1)", "0.999", "decay of the second moment"},
          {"eps", "number in (0, 1]", "1e-08", "added to the root of the second moment"},
          {"weight_decay", "number >= 0", "0", "decoupled: multiplied by the learning rate and the weight"}};
}

AdamWOptions ReadAdam(SpecArguments& arguments) {
  AdamWOptions options;
  options.beta1 = static_cast<float>(arguments.Number("beta1", options.beta1, 0, kBelowOne));
  options.beta2 = static_cast<float>(arguments.Number("beta2", options.beta2, 0, kBelowOne));
  options.epsilon = static_cast<float>(arguments.Number("eps", options.epsilon, kAboveZero, 1));
  options.weight_decay = static_cast<float>(arguments.Number("weight_decay", options.weight_decay, 0, kLargest));
  return options;
}

ParameterInfo AdamFormParameter() {
  return {"form", "adamw|published", "adamw", "adamw: bias-corrected; published: without, as the papers' code"};
}

AdamForm ReadAdamForm(SpecArguments& arguments) {
  static constexpr std::array<std::string_view, 2> kForms = {"adamw", "published"};
  return arguments.Word("form", kForms[0], kForms) == kForms[0] ? AdamForm::kAdamW : AdamForm::kPublished;
}

ParameterInfo AdamSpaceParameter() {
  return {"space", "step|plain", "step",
          "step: what travels is divided by Adam's denominator, so that the codec's noise is alike in all elements' "
          "steps, and clipped to what Adam itself cannot exceed; plain: as published"};
}

AdamSpace ReadAdamSpace(SpecArguments& arguments) {
  static constexpr std::array<std::string_view, 2> kSpaces = {"step", "plain"};
  return arguments.Word("space", kSpaces[0], kSpaces) == kSpaces[0] ? AdamSpace::kStep : AdamSpace::kPlain;
}

std::vector<ParameterInfo> LambParameters() {
  std::vector<ParameterInfo> parameters = AdamParameters();
  parameters.push_back(AdamFormParameter());
  parameters.push_back({"least_ratio", "number > 0", "0.01", "lower bound of a tensor's trust ratio"});
  parameters.push_back({"largest_ratio", "number > 0", "10", "its upper bound; at least least_ratio"});
  return parameters;
}

LambOptions ReadLamb(SpecArguments& arguments) {
  LambOptions options{.adam = ReadAdam(arguments), .form = ReadAdamForm(arguments)};
  options.least_ratio = static_cast<float>(arguments.Number("least_ratio", options.least_ratio, kAboveZero, kLargest));
  options.largest_ratio =
      static_cast<float>(arguments.Number("largest_ratio", options.largest_ratio, options.least_ratio, kLargest));
  return options;
}

std::string ToString(const AdamWOptions& options) {
  return fmt::format("beta1={}, beta2={}, eps={}, weight_decay={}", options.beta1, options.beta2, options.epsilon,
                     options.weight_decay);
}

std::string ToString(const LambOptions& options) {
  return fmt::format("{}, form={}, least_ratio={}, largest_ratio={}", ToString(options.adam), ToString(options.form),
                     options.least_ratio, options.largest_ratio);
}

std::string_view ToString(AdamSpace space) { return space == AdamSpace::kStep ? "step" : "plain"; }

std::string_view ToString(AdamForm form) { return form == AdamForm::kAdamW ? "adamw" : "published"; }

}  // namespace laconic
