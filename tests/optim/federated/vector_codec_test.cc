#include "laconic/optim/federated/vector_codec.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/base/status_macros.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr VectorCodec::Origin kOrigin{.seed = 1, .round = 7, .sender = 3};

// fc.weight [2, 3] and fc.bias [2].
const std::vector<Parameter>& Model() {
  static const std::vector<Parameter> parameters = {{.name = "fc.weight", .shape = Shape({2, 3})},
                                                    {.name = "fc.bias", .shape = Shape({2})}};
  return parameters;
}

std::vector<float> Decode(const VectorCodec& codec, std::span<const std::byte> message,
                          const VectorCodec::Origin& origin = kOrigin) {
  std::vector<float> x(codec.elements());
  EXPECT_THAT(codec.DecodeAdd(message, origin, 1, x), IsOk());
  return x;
}

absl::StatusOr<std::vector<std::byte>> Encode(const VectorCodec& codec, std::span<const float> x,
                                              const VectorCodec::Origin& origin = kOrigin,
                                              std::span<float> decoded = {}) {
  std::vector<std::byte> message(codec.MaxBytes());
  LACONIC_ASSIGN_OR_RETURN(const size_t bytes, codec.Encode(x, origin, message, decoded));
  message.resize(bytes);
  return message;
}

const std::vector<float> kX = {1, -5, 2, 0, 4, 3, 7, -8};

TEST(VectorCodec, Rules_GiveEachTensorItsCodec) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec,
                               VectorCodec::Create("*.weight: topk(k=2); *: identity", Model()));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX));
  EXPECT_THAT(Decode(codec, message), ElementsAre(0, -5, 0, 0, 4, 0, 7, -8));
  EXPECT_EQ(codec.ToString(), "*.weight: topk(k=2, values=fp32); *: identity");
  EXPECT_FALSE(codec.identity());
  // The most one of the tensors loses: top 2 of 6.
  EXPECT_DOUBLE_EQ(*codec.traits().delta, 2.0 / 6);
  EXPECT_FALSE(codec.traits().omega.has_value());
}

TEST(VectorCodec, Decoded_IsWhatTheMessageDecodesTo) {
  for (const char* spec :
       {"identity", "quantize(bits=2, rounding=stochastic)", "topk(k=1)", "sign", "composite(topk(k=1), sign)"}) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create(spec, Model()));
    std::vector<float> decoded(kX.size(), -1);
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX, kOrigin, decoded));
    EXPECT_THAT(decoded, ElementsAreArray(Decode(codec, message))) << spec;
  }
}

TEST(VectorCodec, SmallTensors_GoAsTheyAre) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create("sign", Model(), /*min_elements=*/7));
  EXPECT_TRUE(codec.identity());
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX));
  EXPECT_EQ(message.size(), 48u + 1 + 24 + 1 + 8);
  EXPECT_EQ(message.size(), codec.MaxBytes());
}

TEST(VectorCodec, Scale_IsApplied) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create("identity", Model()));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX));
  std::vector<float> acc(8, 1);
  LACONIC_ASSERT_OK(codec.DecodeAdd(message, kOrigin, 0.5f, acc));
  EXPECT_THAT(acc, ElementsAre(1.5, -1.5, 2, 1, 3, 2.5, 4.5, -3));
}

TEST(VectorCodec, Draws_DifferByClientRoundAndVector) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create("randk(k=1, seed=rank)", Model()));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto again, Encode(codec, kX));
  EXPECT_EQ(message, again);
  for (const VectorCodec::Origin& other : {VectorCodec::Origin{.seed = 2, .round = 7, .sender = 3},
                                           VectorCodec::Origin{.seed = 1, .round = 8, .sender = 3},
                                           VectorCodec::Origin{.seed = 1, .round = 7, .sender = 4},
                                           VectorCodec::Origin{.seed = 1, .round = 7, .sender = 3, .vector = 1}}) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto drawn, Encode(codec, kX, other));
    EXPECT_NE(std::vector(drawn.begin() + 48, drawn.end()), std::vector(message.begin() + 48, message.end()));
  }
}

TEST(VectorCodec, AnotherOrigin_IsDataLossThatNamesIt) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create("topk(k=1)", Model()));
  LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX));
  std::vector<float> acc(8);
  const auto decode = [&](const VectorCodec::Origin& origin) { return codec.DecodeAdd(message, origin, 1, acc); };
  EXPECT_THAT(decode({.seed = 1, .round = 7, .sender = 4}),
              HasStatus(absl::StatusCode::kDataLoss,
                        AllOf(HasSubstr("round 7 from client 4"), HasSubstr("part 3, expected 4"))));
  EXPECT_THAT(decode({.seed = 1, .round = 8, .sender = 3}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("step 7, expected 8")));
  EXPECT_THAT(decode({.seed = 1, .round = 7, .sender = VectorCodec::kServer}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("from the server")));
  EXPECT_THAT(decode({.seed = 1, .round = 7, .sender = 3, .vector = 1}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("tensor 4294967295, expected 4294967294")));
}

TEST(VectorCodec, CutOrChangedBytes_AreDataLoss) {
  for (const char* spec : {"identity", "topk(k=2)", "*.weight: sign; *: quantize(bits=4)"}) {
    LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create(spec, Model()));
    LACONIC_ASSERT_OK_AND_ASSIGN(const auto message, Encode(codec, kX));
    std::vector<float> acc(8);
    for (size_t length = 0; length < message.size(); ++length) {
      EXPECT_EQ(codec.DecodeAdd(std::span(message).first(length), kOrigin, 1, acc).code(), absl::StatusCode::kDataLoss);
    }
    for (size_t i = 0; i < message.size(); ++i) {
      auto changed = message;
      changed[i] ^= std::byte{1};
      EXPECT_EQ(codec.DecodeAdd(changed, kOrigin, 1, acc).code(), absl::StatusCode::kDataLoss) << spec << " byte " << i;
    }
  }
}

TEST(VectorCodec, ForgedLengthUnderAGoodChecksum_IsDataLossThatNamesTheTensor) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create("identity", Model()));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto message, Encode(codec, kX));
  const PayloadHeader header{.codec = CodecId::kIdentity, .tensor = 0xffffffff, .part = 3, .step = 7, .elements = 8};
  std::vector<float> acc(8);
  // fc.bias claims 9 bytes and has 8; fc.weight claims 23 and its bias begins a byte early.
  for (const auto& [at, length, name] :
       {std::tuple{48 + 25, 9, "fc.bias"}, {48, 25, "fc.weight"}, {48, 23, "fc.weight"}}) {
    auto forged = message;
    forged[static_cast<size_t>(at)] = static_cast<std::byte>(length);
    SealPayload(header, forged.size() - 48, forged);
    EXPECT_THAT(codec.DecodeAdd(forged, kOrigin, 1, acc), HasStatus(absl::StatusCode::kDataLoss, HasSubstr(name)));
  }
  message.push_back(std::byte{0});
  SealPayload(header, message.size() - 48, message);
  EXPECT_THAT(codec.DecodeAdd(message, kOrigin, 1, acc),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("round 7 from client 3")));
}

TEST(VectorCodec, NotFinite_IsRefusedOnBothSides) {
  LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create("identity", Model()));
  std::vector<float> x = kX;
  x[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Encode(codec, x), HasStatus(absl::StatusCode::kInvalidArgument,
                                          AllOf(HasSubstr("tensor fc.bias"), HasSubstr("element 1 of 2 is nan"))));
  LACONIC_ASSERT_OK_AND_ASSIGN(auto message, Encode(codec, kX));
  std::memcpy(message.data() + message.size() - 4, &x[7], 4);
  SealPayload({.codec = CodecId::kIdentity, .tensor = 0xffffffff, .part = 3, .step = 7, .elements = 8},
              message.size() - 48, message);
  EXPECT_THAT(codec.DecodeAdd(message, kOrigin, 1, x),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("tensor fc.bias")));
}

TEST(VectorCodec, BadSpecs_NameColumnOrTensor) {
  const auto error = [](std::string_view spec) {
    return std::string(VectorCodec::Create(spec, Model()).status().message());
  };
  EXPECT_THAT(error("topk(k=1)+ef"), HasSubstr("spec column 11: a codec stands alone here, without +ef"));
  EXPECT_THAT(error("topp"), HasSubstr("spec column 1"));
  EXPECT_THAT(error("*.weight: topk(k=1)"), HasSubstr("no rule of the spec matches tensor fc.bias"));
  EXPECT_THAT(std::string(VectorCodec::Create("sign", {}).status().message()), HasSubstr("at least one tensor"));
}

}  // namespace
}  // namespace laconic
