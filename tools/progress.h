// What a long command is doing now, on stderr: only where a person looks, or --progress asks for it.
#pragma once

#include <string_view>

namespace laconic::tools {

// One thread at a time.
class Progress {
 public:
  // wanted: also when stderr is not a terminal; then every note is a line of its own.
  explicit Progress(bool wanted);
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Note(std::string_view text);
  // Takes the note away before something is printed to stdout.
  void Clear();

 private:
  bool terminal_, wanted_;
  size_t shown_ = 0;
};

}  // namespace laconic::tools
