#include "tools/progress.h"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "fmt/format.h"

namespace laconic::tools {

Progress::Progress(bool wanted) : terminal_(::isatty(STDERR_FILENO) != 0), wanted_(wanted) {}

void Progress::Note(std::string_view text) {
  if (!terminal_ && !wanted_) return;
  Clear();
  fmt::print(stderr, "{}{}", text, terminal_ ? "" : "\n");
  std::fflush(stderr);
  shown_ = terminal_ ? text.size() : 0;
}

void Progress::Clear() {
  if (shown_ == 0) return;
  fmt::print(stderr, "\r{}\r", std::string(shown_, ' '));
  std::fflush(stderr);
  shown_ = 0;
}

}  // namespace laconic::tools
