#include "worker/pace.h"

#include <algorithm>
#include <limits>

namespace fathom {
namespace {

constexpr int32_t kUnbounded = std::numeric_limits<int32_t>::max();
// What a new observation counts. A step lasts target after about four of them.
constexpr double kWeight = 0.5;
// One step that lost the processor for a while is not what steps cost.
constexpr double kOutlier = 4;

}  // namespace

// With t(n) = f + b n, going on with n' = target / (t(n) / n) meets n = (target - f) / b, and comes
// nearer by f / target in every step: what rows cost that decode beside need not be known.
double Pace::tokens_of_target() const { return target_.to_seconds() / seconds_; }

int32_t Pace::prompt_tokens_max(int32_t decode_rows, int32_t behind) const {
  if (target_.ns == 0 || seconds_ <= 0) return kUnbounded;
  const int32_t least = std::max({kTokensMin, 2 * decode_rows, expands_ ? behind / 8 : 0});
  return std::max(least, static_cast<int32_t>(std::min(tokens_of_target(), 1e9)));
}

void Pace::observe(const PromptStep& step) {
  if (step.prompt_tokens <= 0) return;
  const bool mixed = step.decode_rows > 0;
  if (mixed_ && !mixed) return;
  const double seconds = step.took.to_seconds() / step.prompt_tokens;
  // The end of a prompt is few tokens to share the step's own cost. Too long is too long.
  const bool small = seconds_ > 0 && step.prompt_tokens < 0.5 * tokens_of_target();
  if (small && step.took < target_) return;
  if (mixed == mixed_ && seconds_ > 0)
    seconds_ += kWeight * (std::min(seconds, kOutlier * seconds_) - seconds_);
  else
    seconds_ = seconds;
  mixed_ = mixed;
}

}  // namespace fathom
