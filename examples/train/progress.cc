#include "examples/train/progress.h"

#include <unistd.h>

#include "fmt/format.h"

namespace laconic::train {
namespace {

constexpr double kBarSeconds = 0.1;  // between two drawings of the bar
constexpr double kLineSeconds = 5;   // between two lines
constexpr size_t kBarCells = 24;

}  // namespace

Progress::Progress(bool shown, std::string spec, uint64_t first_step, uint64_t total_steps)
    : shown_(shown),
      terminal_(isatty(STDERR_FILENO) == 1),
      spec_(std::move(spec)),
      first_step_(first_step),
      total_steps_(total_steps) {}

Progress::~Progress() { ClearBar(); }

void Progress::Step(uint64_t steps_done, double loss) {
  const bool ends = steps_done == first_step_ + 1 || steps_done == total_steps_;
  if (!shown_ || (!ends && since_shown_.seconds() < (terminal_ ? kBarSeconds : kLineSeconds))) return;
  since_shown_ = Stopwatch();
  Show(steps_done, loss);
}

void Progress::Show(uint64_t steps_done, double loss) {
  const uint64_t left = total_steps_ - steps_done;
  const double elapsed = since_start_.seconds();
  const double seconds_left = elapsed / static_cast<double>(steps_done - first_step_) * static_cast<double>(left);
  const std::string accuracy = accuracy_ ? fmt::format("  test {:.4f}", *accuracy_) : "";
  if (terminal_) {
    const size_t cells = kBarCells * steps_done / total_steps_;
    fmt::print(stderr, "\r\x1b[K{} [{:#<{}}{:.<{}}] {}/{}  loss {:.4f}{}  {:.0f} s left", spec_, "", cells, "",
               kBarCells - cells, steps_done, total_steps_, loss, accuracy, seconds_left);
    std::fflush(stderr);
    bar_drawn_ = true;
  } else {
    fmt::print(stderr, "{}: step {} of {}, {} left, about {:.0f} s  loss {:.4f}{}\n", spec_, steps_done, total_steps_,
               left, seconds_left, loss, accuracy);
  }
}

void Progress::Note(const std::string& text) {
  if (!shown_) return;
  ClearBar();
  fmt::print(stderr, "{}: {}\n", spec_, text);
}

void Progress::ClearBar() {
  if (bar_drawn_) fmt::print(stderr, "\r\x1b[K");
  bar_drawn_ = false;
}

}  // namespace laconic::train
