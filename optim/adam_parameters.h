// Private: the parameters that everything made from Adam has.
#pragma once

#include <vector>

#include "laconic/compressors/spec.h"
#include "laconic/optim/optimizer.h"
#include "optim/adam_step.h"

namespace laconic {

// beta1, beta2, eps, weight_decay.
std::vector<ParameterInfo> AdamParameters();
AdamWOptions ReadAdam(SpecArguments& arguments);

// form = adamw | published.
ParameterInfo AdamFormParameter();
AdamForm ReadAdamForm(SpecArguments& arguments);

// space = step | plain: how the 1-bit family writes down what travels. Plain: as it is. Step: divided by Adam's
// denominator.
enum class AdamSpace { kStep, kPlain };
ParameterInfo AdamSpaceParameter();
AdamSpace ReadAdamSpace(SpecArguments& arguments);

// Adam's, form, and what the trust ratio is clipped to.
std::vector<ParameterInfo> LambParameters();
LambOptions ReadLamb(SpecArguments& arguments);

// "beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0", and "adamw".
std::string ToString(const AdamWOptions& options);
std::string ToString(const LambOptions& options);
std::string_view ToString(AdamForm form);
std::string_view ToString(AdamSpace space);

}  // namespace laconic
