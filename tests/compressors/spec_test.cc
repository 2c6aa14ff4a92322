#include "laconic/compressors/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  const auto rules = ParseSpec(text);
  return rules.ok() ? "parsed" : std::string(rules.status().message());
}

std::string Canonical(std::string_view text) {
  const auto rules = ParseSpec(text);
  return rules.ok() ? ToString(*rules) : std::string(rules.status().message());
}

// Equal but for columns, which depend on how a spec was written.
bool Same(const SpecCall& a, const SpecCall& b) {
  if (a.name != b.name || a.arguments.size() != b.arguments.size()) return false;
  for (size_t i = 0; i < a.arguments.size(); ++i) {
    if (a.arguments[i].key != b.arguments[i].key || !Same(a.arguments[i].value, b.arguments[i].value)) return false;
  }
  return true;
}

bool Same(const std::vector<SpecRule>& a, const std::vector<SpecRule>& b) {
  if (a.size() != b.size()) return false;
  for (size_t r = 0; r < a.size(); ++r) {
    if (a[r].pattern != b[r].pattern || a[r].pipeline.size() != b[r].pipeline.size()) return false;
    for (size_t c = 0; c < a[r].pipeline.size(); ++c) {
      if (!Same(a[r].pipeline[c], b[r].pipeline[c])) return false;
    }
  }
  return true;
}

TEST(ParseSpec, PipelineOfThreeCalls_GivesNamesKeysAndColumns) {
  const auto rules = ParseSpec("topk(ratio=0.01)+econtrol(eta=0.05)+gather");
  ASSERT_TRUE(rules.ok()) << rules.status();
  ASSERT_EQ(rules->size(), 1u);
  const SpecRule& rule = rules->front();
  EXPECT_EQ(rule.pattern, "*");
  ASSERT_EQ(rule.pipeline.size(), 3u);
  EXPECT_EQ(rule.pipeline[0].name, "topk");
  EXPECT_EQ(rule.pipeline[0].column, 1u);
  ASSERT_EQ(rule.pipeline[0].arguments.size(), 1u);
  EXPECT_EQ(rule.pipeline[0].arguments[0].key, "ratio");
  EXPECT_EQ(rule.pipeline[0].arguments[0].column, 6u);
  EXPECT_EQ(rule.pipeline[0].arguments[0].value.name, "0.01");
  EXPECT_EQ(rule.pipeline[0].arguments[0].value.column, 12u);
  EXPECT_EQ(rule.pipeline[1].column, 18u);
  EXPECT_EQ(rule.pipeline[2].name, "gather");
}

TEST(ParseSpec, RulesWithPatterns_KeepTheirOrder) {
  const auto rules = ParseSpec("layer?/fc*.weight: topk(ratio=0.01)+econtrol; *: dense");
  ASSERT_TRUE(rules.ok()) << rules.status();
  ASSERT_EQ(rules->size(), 2u);
  EXPECT_EQ(rules->at(0).pattern, "layer?/fc*.weight");
  EXPECT_EQ(rules->at(0).pipeline.size(), 2u);
  EXPECT_EQ(rules->at(1).pattern, "*");
}

TEST(ParseSpec, PlainWordBeforeColon_IsAPattern) {
  const auto rules = ParseSpec("bias: dense");
  ASSERT_TRUE(rules.ok()) << rules.status();
  EXPECT_EQ(rules->front().pattern, "bias");
  EXPECT_EQ(rules->front().pipeline.front().name, "dense");
}

TEST(ParseSpec, CallAsArgument_IsANestedCall) {
  const auto call = ParseSpecCall("scaled(quantize(bits=2), by=auto)");
  ASSERT_TRUE(call.ok()) << call.status();
  ASSERT_EQ(call->arguments.size(), 2u);
  EXPECT_EQ(call->arguments[0].key, "");
  EXPECT_EQ(call->arguments[0].value.name, "quantize");
  EXPECT_EQ(call->arguments[0].value.arguments[0].key, "bits");
  EXPECT_EQ(call->arguments[1].key, "by");
}

TEST(ParseSpec, AnySpacing_PrintsCanonically) {
  EXPECT_EQ(Canonical(" topk( ratio = 0.01 ,k=3 )\n+ ef()\t"), "topk(ratio=0.01, k=3)+ef");
  EXPECT_EQ(Canonical("fc*:topk;*:dense"), "fc*: topk; *: dense");
  EXPECT_EQ(Canonical("*: dense"), "dense");
  EXPECT_EQ(Canonical("topk; dense"), "*: topk; *: dense");
}

TEST(ParseSpec, ExponentWithPlus_IsOneNumberInsideParentheses) {
  EXPECT_EQ(Canonical("a(x=1e+05)+b"), "a(x=1e+05)+b");
  EXPECT_EQ(Canonical("a(1.E+5)"), "a(1.E+5)");
  EXPECT_EQ(Canonical("a1e+b"), "a1e+b");  // two calls
  EXPECT_THAT(ErrorOf("a(b+c)"), HasSubstr("spec column 4: expected ',' or ')' in the arguments of a, found '+'"));
}

TEST(ParseSpec, ColonWithinAWord_IsPartOfItInsideParenthesesOnly) {
  const auto rules = ParseSpec("adaptive(budget=uniform:4)");
  ASSERT_TRUE(rules.ok()) << rules.status();
  EXPECT_EQ(rules->front().pattern, "*");
  EXPECT_EQ(rules->front().pipeline[0].arguments[0].value.name, "uniform:4");
  EXPECT_EQ(Canonical("a:b( c = d:e )"), "a: b(c=d:e)");
  EXPECT_THAT(ErrorOf("a(b=c:)"), HasSubstr("spec column 6"));
  EXPECT_THAT(ErrorOf("a(:c)"), HasSubstr("spec column 3"));
}

TEST(ParseSpec, Mistake_NamesColumnAndWhatWasExpected) {
  EXPECT_EQ(ErrorOf(""), "spec column 1: expected a name, found the end");
  EXPECT_EQ(ErrorOf("a+"), "spec column 3: expected a name, found the end");
  EXPECT_EQ(ErrorOf("a;"), "spec column 3: expected a name, found the end");
  EXPECT_EQ(ErrorOf("a b"), "spec column 3: expected '+', ';' or the end, found 'b'");
  EXPECT_EQ(ErrorOf("topk("), "spec column 6: expected a key or a value, found the end");
  EXPECT_EQ(ErrorOf("topk(k=)"), "spec column 8: expected a value for k, found ')'");
  EXPECT_EQ(ErrorOf("topk(k=3,)"), "spec column 10: expected a key or a value, found ')'");
  EXPECT_EQ(ErrorOf("topk(k=3"), "spec column 9: expected ',' or ')' in the arguments of topk, found the end");
  EXPECT_EQ(ErrorOf("fc* topk"), "spec column 5: expected ':' after the pattern \"fc*\", found 't'");
  EXPECT_EQ(ErrorOf("a\x01"), "spec column 2: expected '+', ';' or the end, found byte 0x01");
}

TEST(ParseSpec, SixteenNestedCalls_ParseAndSeventeenDoNot) {
  const auto nested = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "a(";
    return text + "b" + std::string(static_cast<size_t>(depth), ')');
  };
  EXPECT_EQ(Canonical(nested(kMaxSpecDepth - 1)), nested(kMaxSpecDepth - 1));
  EXPECT_THAT(ErrorOf(nested(kMaxSpecDepth)), HasSubstr("calls nest deeper than 16"));
  EXPECT_THAT(ErrorOf(nested(1'000'000)), HasSubstr("calls nest deeper than 16"));
}

TEST(ParseSpecCall, TextAfterTheCall_IsAnError) {
  EXPECT_EQ(ParseSpecCall("topk(k=3)").value().ToString(), "topk(k=3)");
  EXPECT_EQ(ParseSpecCall("a+b").status().message(), "spec column 2: expected the end, found '+'");
  EXPECT_EQ(ParseSpecCall("a: b").status().message(), "spec column 2: expected the end, found ':'");
}

rc::Gen<std::string> NameGen() {
  return rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::elementOf(std::string("abzAZ019_.-"))));
}

SpecCall DrawCall(int depth) {
  SpecCall call;
  call.name = *NameGen();
  const int arguments = depth == 0 ? 0 : *rc::gen::inRange(0, 3);
  for (int i = 0; i < arguments; ++i) {
    const bool keyed = *rc::gen::arbitrary<bool>();
    call.arguments.push_back({.key = keyed ? *NameGen() : "", .value = DrawCall(depth - 1)});
  }
  return call;
}

RC_GTEST_PROP(ParseSpec, CanonicalText_ParsesBackToTheSameRules, ()) {
  std::vector<SpecRule> rules(static_cast<size_t>(*rc::gen::inRange(1, 4)));
  for (SpecRule& rule : rules) {
    rule.pattern = *rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::elementOf(std::string("aZ0_.-/*?"))));
    rule.pipeline.resize(static_cast<size_t>(*rc::gen::inRange(1, 4)));
    for (SpecCall& call : rule.pipeline) call = DrawCall(3);
  }
  const std::string text = ToString(rules);
  const auto parsed = ParseSpec(text);
  if (!parsed.ok()) RC_FAIL(text + ": " + std::string(parsed.status().message()));
  RC_ASSERT(Same(*parsed, rules));
  RC_ASSERT(ToString(*parsed) == text);
}

RC_GTEST_PROP(ParseSpec, AnyText_GivesRulesThatRoundTripOrAnErrorWithAColumn, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab1e.+-(),=:;*?/ \x7f")));
  const auto rules = ParseSpec(text);
  if (!rules.ok()) {
    RC_ASSERT(rules.status().code() == absl::StatusCode::kInvalidArgument);
    RC_ASSERT(rules.status().message().substr(0, 12) == "spec column ");
    return;
  }
  const auto again = ParseSpec(ToString(*rules));
  RC_ASSERT(again.ok());
  RC_ASSERT(Same(*again, *rules));
}

TEST(MatchesPattern, StarAndQuestionMark_MatchRunsAndSingleCharacters) {
  EXPECT_TRUE(MatchesPattern("fc*.weight", "fc1.weight"));
  EXPECT_TRUE(MatchesPattern("fc*.weight", "fc.weight"));
  EXPECT_FALSE(MatchesPattern("fc*.weight", "fc1.weight2"));
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_TRUE(MatchesPattern("", ""));
  EXPECT_FALSE(MatchesPattern("", "a"));
  EXPECT_TRUE(MatchesPattern("layer?", "layer7"));
  EXPECT_FALSE(MatchesPattern("layer?", "layer"));
  EXPECT_TRUE(MatchesPattern("*a*b", "xaab"));
  EXPECT_FALSE(MatchesPattern("a", "A"));
}

// The definition of '*' and '?', word for word.
bool MatchesByDefinition(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*') {
    return MatchesByDefinition(pattern.substr(1), name) ||
           (!name.empty() && MatchesByDefinition(pattern, name.substr(1)));
  }
  return !name.empty() && (pattern[0] == '?' || pattern[0] == name[0]) &&
         MatchesByDefinition(pattern.substr(1), name.substr(1));
}

RC_GTEST_PROP(MatchesPattern, AnyPatternAndName_AgreesWithTheDefinition, ()) {
  const auto pattern = *rc::gen::resize(8, rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab*?"))));
  const auto name = *rc::gen::resize(10, rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab"))));
  RC_ASSERT(MatchesPattern(pattern, name) == MatchesByDefinition(pattern, name));
}

TEST(MatchesPattern, ManyStars_TakeQuadraticTimeAtMost) {
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "a*";
  // Exponential backtracking would not end.
  EXPECT_FALSE(MatchesPattern(pattern + "b", std::string(20'000, 'a')));
}

class SpecArgumentsTest : public ::testing::Test {
 protected:
  SpecCall Parse(std::string_view text) { return ParseSpecCall(text).value(); }

  const std::vector<ParameterInfo> topk_ = {
      {.key = "ratio", .type = "number in (0, 1]", .default_value = "0.01", .help = ""},
      {.key = "k", .type = "1..", .default_value = "", .help = ""},
      {.key = "values", .type = "fp32|fp16|bf16", .default_value = "fp32", .help = ""},
      {.key = "min_bytes", .type = "bytes", .default_value = "0", .help = ""},
  };
  const std::vector<std::string_view> formats_ = {"fp32", "fp16", "bf16"};
};

TEST_F(SpecArgumentsTest, GivenAndAbsentKeys_GiveValuesAndFallbacks) {
  const SpecCall call = Parse("topk(ratio=2.5e-3, k=12, values=bf16, min_bytes=64K)");
  SpecArguments given(call, topk_);
  EXPECT_TRUE(given.Has("k"));
  EXPECT_EQ(given.Number("ratio", 1, 0, 1), 2.5e-3);
  EXPECT_EQ(given.Integer("k", 1, 1, 100), 12);
  EXPECT_EQ(given.Word("values", "fp32", formats_), "bf16");
  EXPECT_EQ(given.ByteCount("min_bytes", 0, 0, 1 << 20), 65536);
  EXPECT_TRUE(given.Finish().ok()) << given.Finish();

  const SpecCall bare = Parse("topk");
  SpecArguments absent(bare, topk_);
  EXPECT_FALSE(absent.Has("k"));
  EXPECT_EQ(absent.Number("ratio", 0.25, 0, 1), 0.25);
  EXPECT_EQ(absent.Integer("k", 7, 1, 100), 7);
  EXPECT_EQ(absent.Word("values", "fp32", formats_), "fp32");
  EXPECT_EQ(absent.ByteCount("min_bytes", 99, 0, 100), 99);
  EXPECT_TRUE(absent.Finish().ok());
}

TEST_F(SpecArgumentsTest, UnknownKey_ListsWhatIsAccepted) {
  const SpecCall call = Parse("topk(ration=0.01)");
  EXPECT_EQ(SpecArguments(call, topk_).Finish().message(),
            "spec column 6: topk has no key \"ration\"; it takes ratio (number in (0, 1]), k (1..), "
            "values (fp32|fp16|bf16), min_bytes (bytes)");
  const SpecCall natural = Parse("natural(x=1)");
  EXPECT_EQ(SpecArguments(natural, {}).Finish().message(), "spec column 9: natural has no key \"x\"; it takes no keys");
}

TEST_F(SpecArgumentsTest, RepeatedKey_IsAnErrorAtTheSecond) {
  const SpecCall call = Parse("topk(k=1, k=2)");
  SpecArguments arguments(call, topk_);
  arguments.Integer("k", 1, 1, 10);
  EXPECT_EQ(arguments.Finish().message(), "spec column 11: topk has the key \"k\" twice");
}

TEST_F(SpecArgumentsTest, ValueOutsideItsRange_IsAnErrorAtTheValueAndGivesTheFallback) {
  const auto number = [&](std::string_view text) {
    const SpecCall call = Parse(text);
    SpecArguments arguments(call, topk_);
    EXPECT_EQ(arguments.Number("ratio", 0.5, std::nextafter(0.0, 1.0), 1), 0.5);
    return std::string(arguments.Finish().message());
  };
  EXPECT_EQ(number("topk(ratio=2)"), "spec column 12: topk does not take ratio=2; it takes ratio (number in (0, 1])");
  for (const char* bad : {"topk(ratio=0)", "topk(ratio=nan)", "topk(ratio=inf)", "topk(ratio=0.1x)", "topk(ratio=-)",
                          "topk(ratio=0.1(a))", "topk(ratio=1e-999)"}) {
    EXPECT_THAT(number(bad), HasSubstr("spec column 12: topk does not take ratio=")) << bad;
  }
}

TEST_F(SpecArgumentsTest, IntegersWordsAndByteCounts_AreReadWhole) {
  const auto refused = [&](std::string_view text) {
    const SpecCall call = Parse(text);
    SpecArguments arguments(call, topk_);
    arguments.Integer("k", 1, 1, 100);
    arguments.Word("values", "fp32", formats_);
    arguments.ByteCount("min_bytes", 0, 0, std::numeric_limits<int64_t>::max());
    return !arguments.Finish().ok();
  };
  for (const char* good : {"topk(k=100)", "topk(values=fp16)", "topk(min_bytes=8)", "topk(min_bytes=3M)"}) {
    EXPECT_FALSE(refused(good)) << good;
  }
  for (const char* bad : {"topk(k=0)", "topk(k=101)", "topk(k=1.5)", "topk(k=99999999999999999999)", "topk(k=1(x))",
                          "topk(values=fp8)", "topk(values=fp16(x))", "topk(min_bytes=K)", "topk(min_bytes=1T)",
                          "topk(min_bytes=-1)", "topk(min_bytes=9999999999G)"}) {
    EXPECT_TRUE(refused(bad)) << bad;
  }
}

TEST_F(SpecArgumentsTest, PositionalNotAskedFor_IsRefused) {
  const SpecCall call = Parse("topk(0.01)");
  EXPECT_THAT(SpecArguments(call, topk_).Finish().message(),
              HasSubstr("spec column 6: topk takes no value without a key, \"0.01\"; it takes ratio"));
}

TEST_F(SpecArgumentsTest, AcceptedKeyNobodyRead_IsRefused) {
  const SpecCall call = Parse("topk(k=3, ratio=0.5)");
  SpecArguments arguments(call, topk_);
  arguments.Integer("k", 1, 1, 10);
  EXPECT_EQ(arguments.Finish().message(), "spec column 11: topk does not take \"ratio\" beside the other keys here");
}

TEST_F(SpecArgumentsTest, PositionalAndKeyedCalls_AreHandedOut) {
  const SpecCall call = Parse("scaled(quantize(bits=2), topk, k=sign(block=8))");
  SpecArguments arguments(call, topk_);
  std::vector<std::string> positional;
  for (const SpecCall* inner : arguments.Positional()) positional.push_back(inner->ToString());
  EXPECT_THAT(positional, ElementsAre("quantize(bits=2)", "topk"));
  ASSERT_NE(arguments.Call("k"), nullptr);
  EXPECT_EQ(arguments.Call("k")->ToString(), "sign(block=8)");
  EXPECT_EQ(arguments.Call("ratio"), nullptr);
  EXPECT_TRUE(arguments.Finish().ok());
}

TEST(FormatNumber, WrittenNumbers_AreShortestWithoutPlus) {
  EXPECT_EQ(FormatNumber(0.01), "0.01");
  EXPECT_EQ(FormatNumber(1), "1");
  EXPECT_EQ(FormatNumber(-2.5), "-2.5");
  EXPECT_EQ(FormatNumber(1e-7), "1e-07");
  EXPECT_EQ(FormatNumber(1e22), "1e22");
}

RC_GTEST_PROP(FormatNumber, AnyFiniteNumber_ReadsBackEqual, (double value)) {
  RC_PRE(std::isfinite(value));
  const SpecCall call = ParseSpecCall("topk(ratio=" + FormatNumber(value) + ")").value();
  const std::vector<ParameterInfo> accepted = {{.key = "ratio", .type = "", .default_value = "", .help = ""}};
  SpecArguments arguments(call, accepted);
  constexpr double kMax = std::numeric_limits<double>::max();
  RC_ASSERT(arguments.Number("ratio", 0.125, -kMax, kMax) == value);
  RC_ASSERT(arguments.Finish().ok());
}

}  // namespace
}  // namespace laconic
