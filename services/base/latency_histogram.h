// How are latencies counted so that any percentile of any stretch of time can be told later? In
// buckets that grow with the value: 16 to each doubling of microseconds, so what is told differs
// from the sample it stands for by at most 1/32 of it (3.2 %), and by nothing below 32
// microseconds. Counts only grow; a stretch of time is the difference of two moments. 1.9 KB, no
// allocation.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace fathom {

class LatencyHistogram {
 public:
  static constexpr double kErrorMax = 1.0 / 32;  // of the sample, relative
  // Longer samples count as this one: 71 minutes.
  static constexpr int64_t kLongestUs = (int64_t{1} << 32) - 1;

  // Less than nothing counts as nothing.
  void add(Duration sample, uint32_t times = 1) {
    const int64_t us = std::clamp<int64_t>(sample.ns / 1000, 0, kLongestUs);
    counts_[bucket_of(static_cast<uint64_t>(us))] += times;
  }
  uint64_t count() const;
  // What was added since `earlier`, an older state of the same histogram.
  LatencyHistogram since(const LatencyHistogram& earlier) const;
  // Nearest rank: the sample that at least `percent` of all do not exceed, in seconds; 0 when there
  // is none.
  double percentile(double percent) const;

 private:
  static constexpr size_t kSteps = 16;             // to a doubling
  static constexpr size_t kBuckets = 29 * kSteps;  // 0 .. 15 us one by one, then 28 doublings

  static constexpr size_t bucket_of(uint64_t us) {
    if (us < kSteps) return us;
    const auto doublings = static_cast<size_t>(std::bit_width(us)) - 5;
    return (doublings + 1) * kSteps + ((us >> doublings) - kSteps);
  }
  static double middle_us(size_t bucket);

  std::array<uint32_t, kBuckets> counts_{};
};

}  // namespace fathom
