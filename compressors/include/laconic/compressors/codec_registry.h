// From a spec call to a codec, and the one built-in table that help texts and the README are generated from.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/spec.h"

namespace laconic {

class CodecRegistry;

struct CodecInfo {
  std::string name;                       // "topk"
  CodecId id{};
  std::string summary;                    // one line
  std::string source;                     // paper or standard
  std::vector<ParameterInfo> parameters;
  // Makes the codec. `registry` creates codecs given as arguments (scaled(...)). Errors carry spec columns.
  std::function<absl::StatusOr<std::shared_ptr<const Compressor>>(const SpecCall& call, const CodecRegistry& registry)> create;
  std::vector<std::string> examples;      // specs; the conformance suite runs over every one of them
};

// A value: copy it, add to it, hand it to GradientSyncOptions. There is no global registry and no static registration.
class CodecRegistry {
 public:
  // identity, cast, topk, randk, sign, quantize, natural, lowrank, turboquant, scaled, composite, entropy.
  static const CodecRegistry& BuiltIn();

  // AlreadyExists if the name or (for ids >= kFirstUserCodec) the id is taken; InvalidArgument for an id below kFirstUserCodec.
  absl::Status Add(CodecInfo info);

  const CodecInfo* Find(std::string_view name) const;
  std::span<const CodecInfo> codecs() const { return codecs_; }

  // InvalidArgument with column for an unknown name (lists the known ones), key or value.
  absl::StatusOr<std::shared_ptr<const Compressor>> Create(const SpecCall& call) const;
  absl::StatusOr<std::shared_ptr<const Compressor>> Create(std::string_view spec) const;

 private:
  std::vector<CodecInfo> codecs_;
};

}  // namespace laconic
