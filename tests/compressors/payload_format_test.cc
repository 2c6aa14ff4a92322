// Reads the worked examples out of docs/payload-format.md and holds the library to them. An example is a fenced block
//
//   ```payload spec=topk(k=2) shape=[4] values=0.5,-3,1,2 decoded=0,-3,0,2
//   4c 41 43 4e   # bytes in hexadecimal, then a comment
//   ```
//
// framed for RngKey {seed 1, step 8, tensor 3, rank 1} as part 0 of tensor 3 at step 8. `encode=approximate` marks a
// codec whose encoder may round differently on another machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/payload.h"
#include "tests/base/matchers.h"

namespace laconic {
namespace {

using Bytes = std::vector<std::byte>;

constexpr RngKey kKey = {.seed = 1, .step = 8, .tensor = 3, .rank = 1};

struct Example {
  int line = 0;  // of the document
  std::map<std::string, std::string> fields;
  Bytes frame;
};

std::vector<Example> ReadExamples() {
  std::ifstream document(LACONIC_PAYLOAD_FORMAT_DOC);
  std::vector<Example> examples;
  bool inside = false;
  std::string line;
  for (int number = 1; std::getline(document, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string word;
    if (line.starts_with("```payload ")) {
      inside = true;
      examples.push_back({.line = number});
      for (words >> word; words >> word;) {
        const size_t equals = word.find('=');
        examples.back().fields[word.substr(0, equals)] = word.substr(equals + 1);
      }
    } else if (line.starts_with("```")) {
      inside = false;
    } else if (inside) {
      while (words >> word) examples.back().frame.push_back(static_cast<std::byte>(std::stoi(word, nullptr, 16)));
    }
  }
  return examples;
}

// "0.5,-3" or "[2,3]".
template <typename T>
std::vector<T> ReadNumbers(std::string text) {
  std::erase_if(text, [](char c) { return c == '[' || c == ']'; });
  std::vector<T> numbers;
  std::istringstream in(text);
  for (std::string number; std::getline(in, number, ',');)
    numbers.push_back(static_cast<T>(std::strtod(number.c_str(), nullptr)));
  return numbers;
}

// The codec, the input and the frame of one example.
class PayloadExample {
 public:
  explicit PayloadExample(const Example& example)
      : fields_(example.fields),
        frame_(example.frame),
        codec_(*CodecRegistry::BuiltIn().Create(fields_.at("spec"))),
        shape_(*Shape::Make(ReadNumbers<uint64_t>(fields_.at("shape")))) {}

  const Bytes& frame() const { return frame_; }
  CodecId codec_id() const { return codec_->id(); }
  std::vector<float> values() const { return ReadNumbers<float>(fields_.at("values")); }
  std::vector<float> decoded() const { return ReadNumbers<float>(fields_.at("decoded")); }
  bool encodes_exactly() const { return !fields_.contains("encode"); }

  Bytes Encode() const {
    Bytes frame(kPayloadHeaderBytes + codec_->MaxBodyBytes(shape_));
    const absl::StatusOr<size_t> body_bytes =
        codec_->Encode(values(), shape_, kKey, std::span(frame).subspan(kPayloadHeaderBytes));
    EXPECT_THAT(body_bytes, IsOk());
    frame.resize(SealPayload(Header(), body_bytes.value_or(0), frame));
    return frame;
  }

  absl::StatusOr<std::vector<float>> Decode(std::span<const std::byte> frame) const {
    const absl::StatusOr<std::span<const std::byte>> body =
        OpenPayload(frame, Header(), codec_->MaxBodyBytes(shape_), "fc1.weight", 1);
    if (!body.ok()) return body.status();
    std::vector<float> y(shape_.elements());
    if (absl::Status status = codec_->DecodeAdd(*body, shape_, 1, y); !status.ok()) return status;
    return y;
  }

 private:
  PayloadHeader Header() const {
    return {.codec = codec_->id(), .tensor = kKey.tensor, .step = kKey.step, .elements = shape_.elements()};
  }

  std::map<std::string, std::string> fields_;
  Bytes frame_;
  std::shared_ptr<const Compressor> codec_;
  Shape shape_;
};

TEST(PayloadFormat, EveryBuiltInCodec_HasAnExample) {
  std::set<std::string> specs;
  for (const Example& example : ReadExamples()) {
    const std::string& spec = example.fields.at("spec");
    specs.insert(spec.substr(0, spec.find('(')));
  }
  for (const CodecInfo& codec : CodecRegistry::BuiltIn().codecs())
    EXPECT_TRUE(specs.contains(codec.name)) << codec.name;
}

TEST(PayloadFormat, EveryExample_DecodesToTheValuesPrinted) {
  for (const Example& example : ReadExamples()) {
    SCOPED_TRACE(testing::Message() << "line " << example.line);
    const PayloadExample payload(example);
    const absl::StatusOr<std::vector<float>> decoded = payload.Decode(payload.frame());
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(*decoded, payload.decoded());
  }
}

TEST(PayloadFormat, EveryExample_IsWhatTheEncoderWrites) {
  for (const Example& example : ReadExamples()) {
    SCOPED_TRACE(testing::Message() << "line " << example.line);
    const PayloadExample payload(example);
    const Bytes frame = payload.Encode();
    if (payload.encodes_exactly()) {
      EXPECT_EQ(frame, payload.frame());
      continue;
    }
    // Sums of two or three products, twice normalised and multiplied again: well below 16 roundings of 2^-24 each.
    const absl::StatusOr<std::vector<float>> decoded = payload.Decode(frame);
    ASSERT_THAT(decoded, IsOk());
    const std::vector<float> expected = payload.decoded();
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR((*decoded)[i], expected[i], std::fabs(expected[i]) * 0x1p-20);
  }
}

TEST(PayloadFormat, EveryByteFlipAndTruncation_IsDetected) {
  for (const Example& example : ReadExamples()) {
    SCOPED_TRACE(testing::Message() << "line " << example.line);
    const PayloadExample payload(example);
    for (size_t i = 0; i < payload.frame().size(); ++i) {
      Bytes flipped = payload.frame();
      for (const int flip : {0x01, 0x80, 0xff}) {
        flipped[i] = payload.frame()[i] ^ static_cast<std::byte>(flip);
        EXPECT_EQ(payload.Decode(flipped).status().code(), absl::StatusCode::kDataLoss) << "byte " << i;
      }
      EXPECT_EQ(payload.Decode(std::span(payload.frame()).first(i)).status().code(), absl::StatusCode::kDataLoss)
          << "first " << i << " bytes";
    }
  }
}

}  // namespace
}  // namespace laconic
