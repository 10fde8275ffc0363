#include "cli/eval_progress.h"

#include <algorithm>
#include <cmath>
#include <ostream>

namespace fathom {
namespace {

constexpr int kBarWidth = 24;

}  // namespace

std::string eval_progress_text(const EvalProgress& progress, int bar_width) {
  const double share = static_cast<double>(progress.ended) /
                       static_cast<double>(std::max<int64_t>(1, progress.questions));
  const auto full = static_cast<size_t>(share * bar_width);
  const auto rate =
      std::llround(static_cast<double>(progress.tokens) / std::max(progress.seconds, 1e-3));
  std::string text;
  if (bar_width > 0)
    text = "[" + std::string(full, '#') + std::string(static_cast<size_t>(bar_width) - full, '.') +
           "] ";
  text += std::to_string(progress.ended) + " of " + std::to_string(progress.questions) + ", " +
          std::to_string(progress.right) + " right, " + std::to_string(progress.failed) +
          " failed, " + std::to_string(rate) + " tokens/s";
  if (progress.retried > 0) text += ", " + std::to_string(progress.retried) + " asked again";
  if (progress.ended > 0 && progress.ended < progress.questions)
    text += ", " + std::to_string(std::llround(progress.seconds * (1 - share) / share)) + " s left";
  return text;
}

EvalProgressLine::~EvalProgressLine() {
  if (terminal_ && shown_) out_ << "\r\x1b[K" << std::flush;
}

void EvalProgressLine::show(const EvalProgress& progress) {
  if (terminal_) {
    shown_ = true;
    out_ << "\r\x1b[K" << eval_progress_text(progress, kBarWidth) << std::flush;
    return;
  }
  const int64_t tenths = progress.ended * 10 / std::max<int64_t>(1, progress.questions);
  if (tenths <= tenths_) return;
  tenths_ = tenths;
  out_ << eval_progress_text(progress, 0) << std::endl;
}

}  // namespace fathom
