#include "laconic/compressors/codec_registry.h"

#include <algorithm>
#include <utility>

#include "compressors/cast.h"
#include "compressors/composite.h"
#include "compressors/entropy.h"
#include "compressors/identity.h"
#include "compressors/lowrank.h"
#include "compressors/natural.h"
#include "compressors/quantize.h"
#include "compressors/randk.h"
#include "compressors/scaled.h"
#include "compressors/sign.h"
#include "compressors/topk.h"
#include "compressors/turboquant.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "laconic/base/status.h"
#include "laconic/compressors/adaptive.h"

namespace laconic {
namespace {

std::string Names(std::span<const CodecInfo> codecs) {
  std::vector<std::string_view> names;
  for (const CodecInfo& codec : codecs) names.push_back(codec.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

const CodecRegistry& CodecRegistry::BuiltIn() {
  // Never destroyed, so that codecs made from it may be used until the process ends.
  static const CodecRegistry& registry = *[] {
    auto* built_in = new CodecRegistry;
    built_in->codecs_ = {IdentityInfo(), CastInfo(),    TopKInfo(),    RandKInfo(), SignInfo(),
                         QuantizeInfo(), NaturalInfo(), LowRankInfo(), TurboQuantInfo(),
                         ScaledInfo(),   CompositeInfo(), EntropyInfo()};
    return built_in;
  }();
  return registry;
}

absl::Status CodecRegistry::Add(CodecInfo info) {
  const int id = static_cast<int>(info.id);
  const absl::StatusOr<SpecCall> name = ParseSpecCall(info.name);
  if (!name.ok() || name->name != info.name) {
    return absl::InvalidArgumentError(fmt::format("codec name \"{}\" is not a word of the spec language", info.name));
  }
  if (id < static_cast<int>(CodecId::kFirstUserCodec)) {
    return absl::InvalidArgumentError(fmt::format("codec {}: id {} is reserved; take one from {} to 255", info.name, id,
                                                  static_cast<int>(CodecId::kFirstUserCodec)));
  }
  if (info.create == nullptr) {
    return absl::InvalidArgumentError(fmt::format("codec {} has no function that creates it", info.name));
  }
  for (const CodecInfo& other : codecs_) {
    if (other.name == info.name) return absl::AlreadyExistsError(fmt::format("there is a codec {} already", info.name));
    if (other.id == info.id) {
      return absl::AlreadyExistsError(fmt::format("codec {}: id {} is that of {}", info.name, id, other.name));
    }
  }
  codecs_.push_back(std::move(info));
  return absl::OkStatus();
}

const CodecInfo* CodecRegistry::Find(std::string_view name) const {
  const auto found =
      std::find_if(codecs_.begin(), codecs_.end(), [&](const auto& codec) { return codec.name == name; });
  return found == codecs_.end() ? nullptr : &*found;
}

absl::StatusOr<std::shared_ptr<const Compressor>> CodecRegistry::Create(const SpecCall& call) const {
  const CodecInfo* info = Find(call.name);
  if (info == nullptr && call.name == kAdaptiveName) {
    return SpecError(call.column,
                     "adaptive is no codec but a choice among codecs, made from gradients while training: "
                     "name one of them here, such as topk(ratio=0.01)");
  }
  if (info == nullptr) {
    return SpecError(call.column,
                     fmt::format("there is no codec \"{}\"; the codecs are {}", call.name, Names(codecs_)));
  }
  return info->create(call, *this);
}

absl::StatusOr<std::shared_ptr<const Compressor>> CodecRegistry::Create(std::string_view spec) const {
  LACONIC_ASSIGN_OR_RETURN(const SpecCall call, ParseSpecCall(spec));
  return Create(call);
}

}  // namespace laconic
