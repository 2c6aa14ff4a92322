// Any text as a spec: rules that print and parse back to the same text, or an error with a column. Every call of every
// rule is also offered to the codec registry, and a codec it makes must print a spec that makes it again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/spec.h"

namespace laconic {
namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

void CheckIsSpecError(const absl::Status& status) {
  Check(status.code() == absl::StatusCode::kInvalidArgument);
  Check(status.message().substr(0, 12) == "spec column ");
}

void TryCodec(const SpecCall& call) {
  const CodecRegistry& registry = CodecRegistry::BuiltIn();
  const auto codec = registry.Create(call);
  if (!codec.ok()) return CheckIsSpecError(codec.status());
  const auto again = registry.Create((*codec)->ToString());
  Check(again.ok() && (*again)->ToString() == (*codec)->ToString());
}

void TrySpec(std::string_view text) {
  const auto rules = ParseSpec(text);
  if (!rules.ok()) return CheckIsSpecError(rules.status());
  const std::string canonical = ToString(*rules);
  const auto again = ParseSpec(canonical);
  Check(again.ok() && ToString(*again) == canonical);
  for (const SpecRule& rule : *rules) {
    MatchesPattern(rule.pattern, text);
    for (const SpecCall& call : rule.pipeline) TryCodec(call);
  }
}

}  // namespace
}  // namespace laconic

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  laconic::TrySpec({reinterpret_cast<const char*>(data), size});
  return 0;
}
