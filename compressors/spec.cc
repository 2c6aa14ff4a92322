#include "laconic/compressors/spec.h"

#include <utility>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

// ASCII only: what a spec means must not depend on the locale.
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsPrintable(char c) { return c >= ' ' && c <= '~'; }

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || IsDigit(c) || c == '_' || c == '.' || c == '-';
}

bool IsPatternOnlyCharacter(char c) { return c == '/' || c == '*' || c == '?'; }

// Reads the grammar of spec.h from left to right. The only recursion is a call inside a call, at most kMaxSpecDepth
// deep.
class SpecParser {
 public:
  explicit SpecParser(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<SpecRule>> ParseRules() {
    std::vector<SpecRule> rules;
    do {
      LACONIC_ASSIGN_OR_RETURN(SpecRule rule, ParseRule());
      rules.push_back(std::move(rule));
    } while (TakeIf(';'));
    LACONIC_RETURN_IF_ERROR(ExpectEnd("'+', ';' or the end"));
    return rules;
  }

  absl::StatusOr<SpecCall> ParseOnlyCall() {
    LACONIC_ASSIGN_OR_RETURN(SpecCall call, ParseCall(/*depth=*/1, "a name"));
    LACONIC_RETURN_IF_ERROR(ExpectEnd("the end"));
    return call;
  }

 private:
  absl::StatusOr<SpecRule> ParseRule() {
    SpecRule rule;
    SkipSpace();
    const size_t start = position_;
    bool wildcard = false;
    while (!AtEnd() && (IsNameCharacter(Peek()) || IsPatternOnlyCharacter(Peek()))) {
      wildcard = wildcard || IsPatternOnlyCharacter(Peek());
      ++position_;
    }
    const size_t end = position_;
    if (end > start && TakeIf(':')) {
      rule.pattern = std::string(text_.substr(start, end - start));
    } else if (wildcard) {
      return Unexpected(fmt::format("':' after the pattern \"{}\"", text_.substr(start, end - start)));
    } else {
      position_ = start;  // it was the first call's name
    }
    do {
      LACONIC_ASSIGN_OR_RETURN(SpecCall call, ParseCall(/*depth=*/1, "a name"));
      rule.pipeline.push_back(std::move(call));
    } while (TakeIf('+'));
    return rule;
  }

  absl::StatusOr<SpecCall> ParseCall(int depth, std::string_view expected) {
    SpecCall call;
    SkipSpace();
    call.column = position_ + 1;
    call.name = std::string(TakeName(/*in_parentheses=*/depth > 1));
    if (call.name.empty()) return Unexpected(expected);
    return ParseArguments(std::move(call), depth);
  }

  // The rest of a call after its name.
  absl::StatusOr<SpecCall> ParseArguments(SpecCall call, int depth) {
    SkipSpace();
    if (AtEnd() || Peek() != '(') return call;
    if (depth >= kMaxSpecDepth) {
      return SpecError(position_ + 1, fmt::format("calls nest deeper than {}", kMaxSpecDepth));
    }
    ++position_;
    if (TakeIf(')')) return call;
    do {
      LACONIC_ASSIGN_OR_RETURN(SpecArgument argument, ParseArgument(depth + 1));
      call.arguments.push_back(std::move(argument));
    } while (TakeIf(','));
    if (!TakeIf(')')) return Unexpected(fmt::format("',' or ')' in the arguments of {}", call.name));
    return call;
  }

  absl::StatusOr<SpecArgument> ParseArgument(int depth) {
    SpecArgument argument;
    SkipSpace();
    argument.column = position_ + 1;
    const std::string_view first = TakeName(/*in_parentheses=*/true);
    if (first.empty()) return Unexpected("a key or a value");
    if (TakeIf('=')) {
      argument.key = std::string(first);
      LACONIC_ASSIGN_OR_RETURN(argument.value, ParseCall(depth, fmt::format("a value for {}", first)));
      return argument;
    }
    argument.value.name = std::string(first);
    argument.value.column = argument.column;
    LACONIC_ASSIGN_OR_RETURN(argument.value, ParseArguments(std::move(argument.value), depth));
    return argument;
  }

  // A run of name characters. Between parentheses also the plus of a number such as 1e+05 and a colon within a word,
  // as in uniform:4, which outside of them mean something else.
  std::string_view TakeName(bool in_parentheses) {
    const size_t start = position_;
    const auto continues = [&] {
      return IsNameCharacter(Peek()) || (in_parentheses && (AtExponentPlus(start) || AtInnerColon(start)));
    };
    while (!AtEnd() && continues()) ++position_;
    return text_.substr(start, position_ - start);
  }

  bool AtInnerColon(size_t start) const {
    return Peek() == ':' && position_ > start && position_ + 1 < text_.size() && IsNameCharacter(text_[position_ + 1]);
  }

  bool AtExponentPlus(size_t start) const {
    if (Peek() != '+' || position_ < start + 2 || position_ + 1 >= text_.size()) return false;
    const char e = text_[position_ - 1];
    const char before = text_[position_ - 2];
    return (e == 'e' || e == 'E') && (IsDigit(before) || before == '.') && IsDigit(text_[position_ + 1]);
  }

  absl::Status ExpectEnd(std::string_view expected) {
    SkipSpace();
    if (AtEnd()) return absl::OkStatus();
    return Unexpected(expected);
  }

  absl::Status Unexpected(std::string_view expected) {
    SkipSpace();
    if (AtEnd()) return SpecError(position_ + 1, fmt::format("expected {}, found the end", expected));
    const char found = Peek();
    const std::string shown = IsPrintable(found) ? fmt::format("'{}'", found)
                                                 : fmt::format("byte 0x{:02x}", static_cast<unsigned char>(found));
    return SpecError(position_ + 1, fmt::format("expected {}, found {}", expected, shown));
  }

  bool AtEnd() const { return position_ == text_.size(); }
  char Peek() const { return text_[position_]; }
  void SkipSpace() {
    while (!AtEnd() && IsSpace(Peek())) ++position_;
  }
  bool TakeIf(char c) {
    SkipSpace();
    if (AtEnd() || Peek() != c) return false;
    ++position_;
    return true;
  }

  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<SpecRule>> ParseSpec(std::string_view text) { return SpecParser(text).ParseRules(); }

absl::StatusOr<SpecCall> ParseSpecCall(std::string_view text) { return SpecParser(text).ParseOnlyCall(); }

std::string SpecCall::ToString() const {
  if (arguments.empty()) return name;
  std::string text = name;
  char before = '(';
  for (const SpecArgument& argument : arguments) {
    text += before;
    if (before == ',') text += ' ';
    if (!argument.key.empty()) text += argument.key + "=";
    text += argument.value.ToString();
    before = ',';
  }
  return text + ")";
}

std::string ToString(std::span<const SpecRule> rules) {
  std::string text;
  for (const SpecRule& rule : rules) {
    if (!text.empty()) text += "; ";
    // A single rule for all tensors needs no pattern; among several every pattern is shown.
    if (rules.size() > 1 || rule.pattern != "*") text += rule.pattern + ": ";
    for (size_t i = 0; i < rule.pipeline.size(); ++i) {
      if (i > 0) text += '+';
      text += rule.pipeline[i].ToString();
    }
  }
  return text;
}

bool MatchesPattern(std::string_view pattern, std::string_view name) {
  // On a mismatch only the last '*' need be tried longer: whatever an earlier one could take in, the last one can as
  // well.
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;  // the last '*' met, and the first character of `name` it does not cover
  size_t after_star = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++after_star;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

absl::Status SpecError(size_t column, std::string_view message) {
  return absl::InvalidArgumentError(fmt::format("spec column {}: {}", column, message));
}

}  // namespace laconic
