// Are percentiles out of buckets as near to the exact ones as promised?
#include "base/latency_histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/philox.h"

namespace fathom {
namespace {

// Nearest rank, in microseconds; `samples` sorted.
int64_t exact(const std::vector<int64_t>& samples, double percent) {
  const double rank = std::ceil(percent / 100 * static_cast<double>(samples.size()));
  return samples[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

TEST(LatencyHistogram, percentiles_of_any_load_keep_the_promised_error) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    LatencyHistogram histogram;
    std::vector<int64_t> samples;
    const size_t count = 1 + philox(seed, 0)[0] % 3000;
    for (size_t i = 1; i <= count; ++i) {
      // From microseconds to minutes, evenly over the magnitudes.
      const double spread = static_cast<double>(philox(seed, i)[0]) / 4294967296.0;
      samples.push_back(static_cast<int64_t>(std::pow(10, spread * 8.5)));
      histogram.add(Duration::us(samples.back()));
    }
    std::sort(samples.begin(), samples.end());
    EXPECT_EQ(histogram.count(), count);
    for (const double percent : {0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
      const auto wanted = static_cast<double>(exact(samples, percent));
      const double told = histogram.percentile(percent) * 1e6;
      EXPECT_NEAR(told, wanted, wanted * LatencyHistogram::kErrorMax + 1e-6)
          << seed << " " << percent;
    }
  }
}

TEST(LatencyHistogram, below_32_microseconds_every_value_is_told_exactly) {
  for (int64_t us = 0; us < 32; ++us) {
    LatencyHistogram histogram;
    histogram.add(Duration::us(us));
    EXPECT_DOUBLE_EQ(histogram.percentile(50) * 1e6, static_cast<double>(us));
  }
}

TEST(LatencyHistogram, a_stretch_of_time_is_the_difference_of_two_moments) {
  LatencyHistogram histogram;
  histogram.add(Duration::seconds(5), 1000);
  const LatencyHistogram before = histogram;
  histogram.add(Duration::us(20), 3);
  const LatencyHistogram stretch = histogram.since(before);
  EXPECT_EQ(stretch.count(), 3u);
  EXPECT_DOUBLE_EQ(stretch.percentile(99) * 1e6, 20);
  EXPECT_EQ(histogram.since(histogram).count(), 0u);
  EXPECT_EQ(histogram.since(histogram).percentile(50), 0);
}

TEST(LatencyHistogram, what_is_out_of_range_counts_at_its_end) {
  LatencyHistogram histogram;
  histogram.add(Duration{-5});
  EXPECT_EQ(histogram.percentile(50), 0);
  histogram.add(Duration::seconds(1e6), 9);
  EXPECT_NEAR(histogram.percentile(99), 4295, 4295 * LatencyHistogram::kErrorMax);
}

}  // namespace
}  // namespace fathom
