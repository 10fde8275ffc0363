#include "base/latency_histogram.h"

#include <cmath>

namespace fathom {

uint64_t LatencyHistogram::count() const {
  uint64_t all = 0;
  for (const uint32_t count : counts_) all += count;
  return all;
}

LatencyHistogram LatencyHistogram::since(const LatencyHistogram& earlier) const {
  LatencyHistogram out;
  // Unsigned: right even when a count has gone round.
  for (size_t i = 0; i < kBuckets; ++i) out.counts_[i] = counts_[i] - earlier.counts_[i];
  return out;
}

// Where a bucket holds several values, their middle: half its width is 1/32 of its lower end.
double LatencyHistogram::middle_us(size_t bucket) {
  if (bucket < 2 * kSteps) return static_cast<double>(bucket);  // one value each
  const size_t doublings = bucket / kSteps - 1;
  const uint64_t low = (kSteps + bucket % kSteps) << doublings;
  const uint64_t width = uint64_t{1} << doublings;
  return static_cast<double>(low) + static_cast<double>(width - 1) / 2;
}

double LatencyHistogram::percentile(double percent) const {
  const uint64_t all = count();
  if (all == 0) return 0;
  const double share = std::clamp(percent, 0.0, 100.0) / 100;
  const auto rank =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(all))));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= rank) return middle_us(i) * 1e-6;
  }
  return middle_us(kBuckets - 1) * 1e-6;
}

}  // namespace fathom
