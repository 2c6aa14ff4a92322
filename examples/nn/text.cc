#include "examples/nn/text.h"

#include <array>
#include <cstdio>
#include <memory>

#include "fmt/format.h"

namespace laconic::nn {
namespace {

constexpr size_t kHeldOut = 40;  // about 100,000 characters of the Bible: accuracy known to 0.2 points
constexpr const char* kBibleCommand = "command -v bible >/dev/null && bible -f gen1:1-rev22:21 </dev/null";
constexpr size_t kMaxTextBytes = size_t{1} << 24;

struct PipeCloser {
  void operator()(std::FILE* pipe) const { pclose(pipe); }
};

// "Ge1:1 In the beginning" becomes "In the beginning".
std::string WithoutReferences(std::string_view verses) {
  std::string text;
  while (!verses.empty()) {
    const std::string_view line = verses.substr(0, verses.find('\n'));
    text += line.substr(line.find(' ') + 1);  // the whole line where there is no blank
    text += '\n';
    verses.remove_prefix(std::min(line.size() + 1, verses.size()));
  }
  return text;
}

}  // namespace

absl::StatusOr<TrainTest> SplitText(std::string_view text, size_t context, std::string_view name) {
  const size_t samples = text.empty() ? 0 : (text.size() - 1) / context;
  if (samples < kHeldOut) {
    return absl::DataLossError(fmt::format("{}: {} bytes are {} samples of {} characters; at least {} are needed", name,
                                           text.size(), samples, context, kHeldOut));
  }
  std::array<bool, 256> occurs{};
  for (const char c : text) occurs[static_cast<uint8_t>(c)] = true;
  std::array<uint8_t, 256> number{};
  size_t classes = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (occurs[byte]) number[byte] = static_cast<uint8_t>(classes++);
  }

  TrainTest data;
  for (Dataset* part : {&data.train, &data.test}) {
    part->shape = {1, 1, context};
    part->classes = classes;
    part->labels_per_sample = context;
    for (size_t level = 0; level < 256; ++level) part->levels[level] = static_cast<float>(level);
  }
  for (size_t sample = 0; sample < samples; ++sample) {
    Dataset& part = sample % kHeldOut == kHeldOut - 1 ? data.test : data.train;
    for (size_t i = sample * context; i < (sample + 1) * context; ++i) {
      part.pixels.push_back(number[static_cast<uint8_t>(text[i])]);
      part.labels.push_back(number[static_cast<uint8_t>(text[i + 1])]);
    }
  }
  return data;
}

absl::StatusOr<std::string> ReadBible() {
  const std::unique_ptr<std::FILE, PipeCloser> pipe(popen(kBibleCommand, "r"));
  std::string verses;
  std::array<char, 1 << 16> chunk;
  size_t got = 0;
  while (pipe != nullptr && verses.size() < kMaxTextBytes &&
         (got = std::fread(chunk.data(), 1, chunk.size(), pipe.get())) > 0) {
    verses.append(chunk.data(), got);
  }
  if (verses.empty()) {
    return absl::NotFoundError(
        "the program bible is not installed (Debian, Ubuntu: apt install bible-kjv bible-kjv-text)");
  }
  return WithoutReferences(verses);
}

}  // namespace laconic::nn
