// Reads the worked examples of whole models and broadcasts out of docs/payload-format.md and holds the library to them:
//
//   ```model spec=sign tensors=w[2,3],b[2] values=1,-2,... decoded=1,-1,...      a client's message: client 3, round 7
//   ```broadcast spec=sign tensors=b[2] from=0,0 values=1,2 decoded=1,2          round 7, to who knows round 6
//
// each with the bytes in hexadecimal below, and comments. Seed 1.
#include <fstream>
#include <map>
#include <sstream>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/optim/federated/vector_codec.h"
#include "optim/federated/broadcast.h"
#include "tests/base/status_macros.h"

namespace laconic {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kRound = 7;
constexpr VectorCodec::Origin kClient{.seed = 1, .round = kRound, .sender = 3};
constexpr VectorCodec::Origin kServer{.seed = 1, .round = kRound, .sender = VectorCodec::kServer};

struct Example {
  int line = 0;      // of the document
  std::string kind;  // "model", "broadcast"
  std::map<std::string, std::string> fields;
  Bytes bytes;
};

std::vector<Example> ReadExamples() {
  std::ifstream document(LACONIC_PAYLOAD_FORMAT_DOC);
  std::vector<Example> examples;
  bool inside = false;
  std::string line;
  for (int number = 1; std::getline(document, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string word;
    if (line.starts_with("```model ") || line.starts_with("```broadcast ")) {
      inside = true;
      words >> word;
      examples.push_back({.line = number, .kind = word.substr(3)});
      while (words >> word) {
        const size_t equals = word.find('=');
        examples.back().fields[word.substr(0, equals)] = word.substr(equals + 1);
      }
    } else if (line.starts_with("```")) {
      inside = false;
    } else if (inside) {
      while (words >> word) examples.back().bytes.push_back(static_cast<std::byte>(std::stoi(word, nullptr, 16)));
    }
  }
  return examples;
}

// "1,-2.5".
template <typename T>
std::vector<T> ReadNumbers(const std::string& text) {
  std::vector<T> numbers;
  std::istringstream in(text);
  for (std::string number; std::getline(in, number, ',');) numbers.push_back(static_cast<T>(std::stod(number)));
  return numbers;
}

// "fc.weight[2,3],fc.bias[2]".
std::vector<Parameter> ReadTensors(const std::string& text) {
  std::vector<Parameter> tensors;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('[', at), close = text.find(']', open);
    const auto dimensions = ReadNumbers<uint64_t>(text.substr(open + 1, close - open - 1));
    tensors.push_back({.name = text.substr(at, open - at), .shape = *Shape::Make(dimensions)});
    at = close + 2;
  }
  return tensors;
}

std::string Hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x} ", static_cast<unsigned>(byte));
  return text;
}

// What the library makes of the example's values.
Bytes Encode(const Example& example, const VectorCodec& codec, const VectorCodec& plain) {
  const std::vector<float> values = ReadNumbers<float>(example.fields.at("values"));
  Bytes bytes;
  if (example.kind == "model") {
    bytes.resize(codec.MaxBytes());
    bytes.resize(codec.Encode(values, kClient, bytes, {}).value_or(0));
    return bytes;
  }
  const bool whole = !example.fields.contains("from");
  Bytes work;
  internal::PutBroadcastHeader(whole ? internal::BroadcastKind::kVectors : internal::BroadcastKind::kDifferences,
                               kRound, 1, bytes);
  EXPECT_THAT(internal::AppendMessage(whole ? plain : codec, values, kServer, work, bytes), IsOk());
  return bytes;
}

absl::StatusOr<std::vector<float>> Decode(const Example& example, const VectorCodec& codec, const VectorCodec& plain) {
  std::vector<float> y(codec.elements());
  if (example.kind == "model") {
    LACONIC_RETURN_IF_ERROR(codec.DecodeAdd(example.bytes, kClient, 1, y));
    return y;
  }
  if (example.fields.contains("from")) y = ReadNumbers<float>(example.fields.at("from"));
  const std::vector<std::span<float>> vectors = {y};
  LACONIC_RETURN_IF_ERROR(
      internal::ApplyBroadcast(example.bytes, kRound, /*known=*/kRound, kServer.seed, plain, codec, vectors));
  return y;
}

TEST(WholeModelFormat, Examples_AreWhatTheLibraryReadsAndWrites) {
  const std::vector<Example> examples = ReadExamples();
  EXPECT_EQ(examples.size(), 3u);  // a message, a broadcast of vectors and one of differences
  for (const Example& example : examples) {
    SCOPED_TRACE(testing::Message() << "line " << example.line);
    const std::vector<Parameter> tensors = ReadTensors(example.fields.at("tensors"));
    LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec codec, VectorCodec::Create(example.fields.at("spec"), tensors));
    LACONIC_ASSERT_OK_AND_ASSIGN(const VectorCodec plain, VectorCodec::Create("identity", tensors));
    EXPECT_EQ(Hex(Encode(example, codec, plain)), Hex(example.bytes));
    const auto decoded = Decode(example, codec, plain);
    EXPECT_THAT(decoded, IsOk());
    EXPECT_EQ(decoded.value_or(std::vector<float>()), ReadNumbers<float>(example.fields.at("decoded")));
  }
}

}  // namespace
}  // namespace laconic
