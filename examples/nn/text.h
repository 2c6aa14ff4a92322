// A text as samples of a fixed number of characters, each to be predicted from those before it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "examples/nn/dataset.h"

namespace laconic::nn {

// Cuts `text` into samples of `context` bytes, whose labels are the bytes one further on; an incomplete last one is
// dropped. Every 40th sample is held out for testing. Classes are the different bytes of the text, ascending. DataLoss,
// naming `name`, when there are fewer than 40 samples.
absl::StatusOr<TrainTest> SplitText(std::string_view text, size_t context, std::string_view name);

// The King James Bible, one verse a line, as Debian's program `bible` prints it. NotFound, naming the package, without
// that program.
absl::StatusOr<std::string> ReadBible();

}  // namespace laconic::nn
