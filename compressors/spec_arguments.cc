#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>

#include "fmt/format.h"
#include "laconic/compressors/spec.h"

namespace laconic {
namespace {

const ParameterInfo* FindParameter(std::span<const ParameterInfo> accepted, std::string_view key) {
  const auto found = std::find_if(accepted.begin(), accepted.end(), [&](const auto& p) { return p.key == key; });
  return found == accepted.end() ? nullptr : &*found;
}

std::string Describe(const ParameterInfo& parameter) {
  return parameter.type.empty() ? parameter.key : fmt::format("{} ({})", parameter.key, parameter.type);
}

std::string DescribeAll(std::span<const ParameterInfo> accepted) {
  std::string text;
  for (const ParameterInfo& parameter : accepted) {
    if (!text.empty()) text += ", ";
    text += Describe(parameter);
  }
  return text.empty() ? "no keys" : text;
}

// The whole of `text` as a number of type T.
template <typename T>
std::optional<T> ReadNumber(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

std::optional<double> ReadFinite(const SpecCall& value) {
  if (!value.arguments.empty()) return std::nullopt;
  const std::optional<double> number = ReadNumber<double>(value.name);
  return number.has_value() && std::isfinite(*number) ? number : std::nullopt;
}

// 4096, 64K, 2M, 1G.
std::optional<int64_t> ReadByteCount(std::string_view text) {
  int shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'K':
        shift = 10;
        break;
      case 'M':
        shift = 20;
        break;
      case 'G':
        shift = 30;
        break;
    }
  }
  if (shift > 0) text.remove_suffix(1);
  const std::optional<int64_t> count = ReadNumber<int64_t>(text);
  if (!count.has_value() || *count < 0 || *count > (std::numeric_limits<int64_t>::max() >> shift)) return std::nullopt;
  return *count << shift;
}

}  // namespace

SpecArguments::SpecArguments(const SpecCall& call, std::span<const ParameterInfo> accepted)
    : call_(call), accepted_(accepted), used_(call.arguments.size(), false) {
  for (size_t i = 0; i < call.arguments.size(); ++i) {
    const SpecArgument& argument = call.arguments[i];
    if (argument.key.empty()) continue;
    if (FindParameter(accepted, argument.key) == nullptr) {
      Fail(argument.column,
           fmt::format("{} has no key \"{}\"; it takes {}", call.name, argument.key, DescribeAll(accepted)));
      return;
    }
    for (size_t j = 0; j < i; ++j) {
      if (call.arguments[j].key == argument.key) {
        Fail(argument.column, fmt::format("{} has the key \"{}\" twice", call.name, argument.key));
        return;
      }
    }
  }
}

bool SpecArguments::Has(std::string_view key) const {
  return std::any_of(call_.arguments.begin(), call_.arguments.end(), [&](const auto& a) { return a.key == key; });
}

double SpecArguments::Number(std::string_view key, double fallback, double min, double max) {
  const SpecArgument* argument = Take(key);
  if (argument == nullptr) return fallback;
  const std::optional<double> number = ReadFinite(argument->value);
  if (number.has_value() && *number >= min && *number <= max) return *number;
  Refuse(*argument);
  return fallback;
}

int64_t SpecArguments::Integer(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  const SpecArgument* argument = Take(key);
  if (argument == nullptr) return fallback;
  const std::optional<int64_t> number =
      argument->value.arguments.empty() ? ReadNumber<int64_t>(argument->value.name) : std::nullopt;
  if (number.has_value() && *number >= min && *number <= max) return *number;
  Refuse(*argument);
  return fallback;
}

int64_t SpecArguments::ByteCount(std::string_view key, int64_t fallback, int64_t min, int64_t max) {
  const SpecArgument* argument = Take(key);
  if (argument == nullptr) return fallback;
  const std::optional<int64_t> bytes =
      argument->value.arguments.empty() ? ReadByteCount(argument->value.name) : std::nullopt;
  if (bytes.has_value() && *bytes >= min && *bytes <= max) return *bytes;
  Refuse(*argument);
  return fallback;
}

std::string SpecArguments::Word(std::string_view key, std::string_view fallback,
                                std::span<const std::string_view> words) {
  const SpecArgument* argument = Take(key);
  if (argument == nullptr) return std::string(fallback);
  const SpecCall& value = argument->value;
  if (value.arguments.empty() && std::find(words.begin(), words.end(), value.name) != words.end()) return value.name;
  Refuse(*argument);
  return std::string(fallback);
}

std::vector<const SpecCall*> SpecArguments::Positional() {
  std::vector<const SpecCall*> calls;
  for (size_t i = 0; i < call_.arguments.size(); ++i) {
    if (!call_.arguments[i].key.empty()) continue;
    used_[i] = true;
    calls.push_back(&call_.arguments[i].value);
  }
  return calls;
}

const SpecCall* SpecArguments::Call(std::string_view key) {
  const SpecArgument* argument = Take(key);
  return argument == nullptr ? nullptr : &argument->value;
}

absl::Status SpecArguments::Finish() const {
  if (!first_error_.ok()) return first_error_;
  for (size_t i = 0; i < call_.arguments.size(); ++i) {
    if (used_[i]) continue;
    const SpecArgument& argument = call_.arguments[i];
    if (argument.key.empty()) {
      return SpecError(argument.column, fmt::format("{} takes no value without a key, \"{}\"; it takes {}", call_.name,
                                                    argument.value.ToString(), DescribeAll(accepted_)));
    }
    return SpecError(argument.column,
                     fmt::format("{} does not take \"{}\" beside the other keys here", call_.name, argument.key));
  }
  return absl::OkStatus();
}

const SpecArgument* SpecArguments::Take(std::string_view key) {
  for (size_t i = 0; i < call_.arguments.size(); ++i) {
    if (call_.arguments[i].key != key) continue;
    used_[i] = true;
    return &call_.arguments[i];
  }
  return nullptr;
}

void SpecArguments::Refuse(const SpecArgument& argument) {
  const ParameterInfo* parameter = FindParameter(accepted_, argument.key);
  Fail(argument.value.column,
       fmt::format("{} does not take {}={}; it takes {}", call_.name, argument.key, argument.value.ToString(),
                   parameter == nullptr ? argument.key : Describe(*parameter)));
}

void SpecArguments::Fail(size_t column, const std::string& message) {
  if (first_error_.ok()) first_error_ = SpecError(column, message);
}

std::string FormatNumber(double value) {
  std::string text = fmt::format("{}", value);
  // "1e+16" as "1e16": the plus is the pipeline's separator.
  text.erase(std::remove(text.begin(), text.end(), '+'), text.end());
  return text;
}

}  // namespace laconic
