#include "laconic/compressors/codec_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace laconic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A codec of a user's own, which behaves like identity.
CodecInfo UserCodec(std::string name, int id) {
  CodecInfo info = *CodecRegistry::BuiltIn().Find("identity");
  info.name = std::move(name);
  info.id = static_cast<CodecId>(id);
  return info;
}

TEST(CodecRegistry, BuiltIn_HasEveryDocumentedCodecInOrder) {
  std::vector<std::string> names;
  for (const CodecInfo& codec : CodecRegistry::BuiltIn().codecs()) names.push_back(codec.name);
  EXPECT_THAT(names, ElementsAre("identity", "cast", "topk", "randk", "sign", "quantize", "natural", "lowrank",
                                 "turboquant", "scaled", "composite", "entropy"));
}

TEST(CodecRegistry, EveryBuiltIn_IsDocumentedAndItsExamplesCreateIt) {
  for (const CodecInfo& codec : CodecRegistry::BuiltIn().codecs()) {
    SCOPED_TRACE(codec.name);
    EXPECT_FALSE(codec.summary.empty());
    EXPECT_FALSE(codec.source.empty());
    EXPECT_FALSE(codec.examples.empty());
    std::set<std::string> keys;
    for (const ParameterInfo& parameter : codec.parameters) {
      EXPECT_TRUE(keys.insert(parameter.key).second) << parameter.key << " is documented twice";
      EXPECT_FALSE(parameter.type.empty()) << parameter.key;
      EXPECT_FALSE(parameter.help.empty()) << parameter.key;
    }
    for (const std::string& example : codec.examples) {
      const auto call = ParseSpecCall(example);
      ASSERT_TRUE(call.ok()) << call.status();
      EXPECT_EQ(call->name, codec.name);
      const auto created = CodecRegistry::BuiltIn().Create(example);
      EXPECT_TRUE(created.ok()) << created.status();
    }
  }
}

TEST(CodecRegistry, EveryBuiltIn_RefusesAKeyItDoesNotHave) {
  for (const CodecInfo& codec : CodecRegistry::BuiltIn().codecs()) {
    const auto created = CodecRegistry::BuiltIn().Create(codec.name + "(nonsense=1)");
    EXPECT_EQ(created.status().code(), absl::StatusCode::kInvalidArgument) << codec.name;
    EXPECT_THAT(std::string(created.status().message()), HasSubstr("spec column ")) << codec.name;
  }
}

TEST(CodecRegistry, UnknownCodec_NamesTheColumnAndTheKnownOnes) {
  EXPECT_EQ(CodecRegistry::BuiltIn().Create("topq(k=3)").status().message(),
            "spec column 1: there is no codec \"topq\"; the codecs are identity, cast, topk, randk, sign, quantize, "
            "natural, lowrank, turboquant, scaled, composite, entropy");
  EXPECT_THAT(std::string(CodecRegistry::BuiltIn().Create("scaled(topq)").status().message()),
              HasSubstr("spec column 8: there is no codec \"topq\""));
}

TEST(CodecRegistry, AddedCodec_IsCreatedByNameAndLeavesTheBuiltInAlone) {
  CodecRegistry registry = CodecRegistry::BuiltIn();
  ASSERT_EQ(registry.Add(UserCodec("mine", 128)), absl::OkStatus());
  EXPECT_TRUE(registry.Create("mine").ok());
  EXPECT_NE(registry.Find("mine"), nullptr);
  EXPECT_EQ(CodecRegistry::BuiltIn().Find("mine"), nullptr);
}

TEST(CodecRegistry, AddedCodec_CanBeAnArgumentOfAnother) {
  CodecRegistry registry = CodecRegistry::BuiltIn();
  CodecInfo info = *CodecRegistry::BuiltIn().Find("natural");
  info.name = "mine";
  info.id = static_cast<CodecId>(200);
  ASSERT_EQ(registry.Add(info), absl::OkStatus());
  const auto created = registry.Create("scaled(mine)");
  EXPECT_TRUE(created.ok()) << created.status();
}

TEST(CodecRegistry, TakenNameOrId_AlreadyExists) {
  CodecRegistry registry = CodecRegistry::BuiltIn();
  ASSERT_EQ(registry.Add(UserCodec("mine", 128)), absl::OkStatus());
  EXPECT_EQ(registry.Add(UserCodec("mine", 129)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(registry.Add(UserCodec("topk", 129)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(registry.Add(UserCodec("other", 128)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(registry.codecs().size(), CodecRegistry::BuiltIn().codecs().size() + 1);
}

TEST(CodecRegistry, ReservedIdUnwritableNameOrMissingFunction_IsInvalid) {
  CodecRegistry registry;
  EXPECT_EQ(registry.Add(UserCodec("mine", 127)).message(), "codec mine: id 127 is reserved; take one from 128 to 255");
  EXPECT_EQ(registry.Add(UserCodec("my codec", 128)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(registry.Add(UserCodec("", 128)).code(), absl::StatusCode::kInvalidArgument);
  CodecInfo without_function = UserCodec("mine", 128);
  without_function.create = nullptr;
  EXPECT_EQ(registry.Add(without_function).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(registry.codecs().empty());
}

}  // namespace
}  // namespace laconic
