#include "cli/eval_statistics.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution lie below

// Twice the probability of at most `least` heads in `flips`; at most 1.
double sign_test(int64_t least, int64_t flips) {
  const auto n = static_cast<double>(flips);
  double sum = 0;
  for (int64_t k = 0; k <= least; ++k) {
    const auto heads = static_cast<double>(k);
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(heads + 1) - std::lgamma(n - heads + 1) -
                    n * std::log(2.0));
  }
  return std::min(1.0, 2 * sum);
}

}  // namespace

Interval wilson_interval(int64_t right, int64_t asked) {
  if (asked <= 0) return {};
  const auto n = static_cast<double>(asked);
  const double p = static_cast<double>(right) / n;
  const double z2 = kZ * kZ / n;
  const double middle = (p + z2 / 2) / (1 + z2);
  const double half = kZ / (1 + z2) * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  // The ends are exact where rounding would leave 1e-17.
  return {.low = right == 0 ? 0 : middle - half, .high = right == asked ? 1 : middle + half};
}

PairedDifference paired_difference(int64_t lost, int64_t gained, int64_t pairs) {
  if (pairs <= 0) return {};
  const auto b = static_cast<double>(lost);
  const auto c = static_cast<double>(gained);
  const double n = static_cast<double>(pairs) + 2;
  const double middle = (c - b) / n;
  const double half = kZ * std::sqrt(b + c + 1 - (c - b) * (c - b) / n) / n;
  return {.difference = (c - b) / static_cast<double>(pairs),
          .interval = {.low = std::max(-1.0, middle - half), .high = std::min(1.0, middle + half)},
          .p = sign_test(std::min(lost, gained), lost + gained)};
}

}  // namespace fathom
