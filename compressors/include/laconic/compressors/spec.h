// The one configuration language: on the command line, in the API, in files and checkpoints.
//
//   topk(ratio=0.01)+econtrol(eta=0.05)+gather
//   fc*.weight: topk(ratio=0.01)+econtrol; *: dense
//
//   spec     = rule { ";" rule }                 a rule without a pattern means "*:"; the first rule that matches a tensor counts
//   rule     = [ pattern ":" ] pipeline          pattern: letters, digits, "_", ".", "-", "/", "*" (any run) and "?" (any one)
//   pipeline = call { "+" call }
//   call     = name [ "(" [ argument { "," argument } ] ")" ]
//   argument = [ key "=" ] ( value | call )      a value: number with an optional suffix, word, e.g. 0.01, 4096, fp16,
//                                                uniform:4
//
// This file knows the grammar only. Names and keys are checked by those who own them (codec_registry.h, error_control.h,
// comm/collectives/pipeline.h), whose errors also carry the column and list what is accepted. No recursion deeper than
// kMaxSpecDepth; any text gives a value or InvalidArgument "spec column 12: ...".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic {

inline constexpr int kMaxSpecDepth = 16;

struct SpecArgument;

// name(arguments); a plain word or number is a call without parentheses.
struct SpecCall {
  std::string name;
  std::vector<SpecArgument> arguments;
  size_t column = 1;  // 1-based, in the text that was parsed

  std::string ToString() const;  // canonical: one space after a comma, no others
};

struct SpecArgument {
  std::string key;  // empty: positional, as in scaled(quantize(bits=2))
  SpecCall value;
  size_t column = 1;  // 1-based, where the argument begins: its key, or its value when positional
};

struct SpecRule {
  std::string pattern = "*";
  std::vector<SpecCall> pipeline;
};

absl::StatusOr<std::vector<SpecRule>> ParseSpec(std::string_view text);
// One call, nothing after it: "topk(ratio=0.01)".
absl::StatusOr<SpecCall> ParseSpecCall(std::string_view text);
std::string ToString(std::span<const SpecRule> rules);

// Does `name` match `pattern` ('*' any run, '?' any one character)? Linear memory, O(|pattern| * |name|) time.
bool MatchesPattern(std::string_view pattern, std::string_view name);

// A documented parameter of a named thing. Help texts, error messages and the README's table are made from these.
struct ParameterInfo {
  std::string key;
  std::string type;           // "number in (0, 1]", "1..8", "stochastic|nearest"
  std::string default_value;  // empty: required
  std::string help;
};

// Reads the arguments of one call, each at most once; Finish() reports the first problem: unknown or repeated key, a value
// out of range, an argument nobody asked for (read all that are accepted before Finish). Errors name the column and what is accepted, e.g.
//   spec column 6: topk has no key "ration"; it takes ratio (number in (0, 1]), k (1..), values (fp32|fp16|bf16)
// One thread at a time; `call` must outlive it.
class SpecArguments {
 public:
  SpecArguments(const SpecCall& call, std::span<const ParameterInfo> accepted);

  bool Has(std::string_view key) const;
  // The value, or `fallback` when the key is absent. A value that does not parse or lies outside [min, max] (or is not among
  // `words`) is an error that Finish() reports; `fallback` is given then too. Open bounds: use nextafter.
  double Number(std::string_view key, double fallback, double min, double max);
  int64_t Integer(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  // Bytes with an optional suffix K, M, G (powers of 1024): 64K.
  int64_t ByteCount(std::string_view key, int64_t fallback, int64_t min, int64_t max);
  std::string Word(std::string_view key, std::string_view fallback, std::span<const std::string_view> words);
  // The calls given as positional arguments, in order; without this, Finish() refuses them.
  std::vector<const SpecCall*> Positional();
  // The call given for `key` (nullptr when absent).
  const SpecCall* Call(std::string_view key);

  absl::Status Finish() const;

 private:
  const SpecArgument* Take(std::string_view key);
  void Refuse(const SpecArgument& argument);
  void Fail(size_t column, const std::string& message);

  const SpecCall& call_;
  std::span<const ParameterInfo> accepted_;
  std::vector<bool> used_;
  absl::Status first_error_;
};

// "spec column <column>: <message>" as InvalidArgument.
absl::Status SpecError(size_t column, std::string_view message);
// A double as the shortest text that reads back equal ("0.01", "1", "1e-07"); the canonical form of numbers in specs.
std::string FormatNumber(double value);

}  // namespace laconic
