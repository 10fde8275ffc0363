#include "cli/eval_statistics.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

// Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
TEST(EvalStatistics, wilson_gives_the_published_intervals) {
  const struct {
    int64_t right, asked;
    double low, high;
  } rows[] = {{81, 263, 0.2553, 0.3662},
              {15, 148, 0.0624, 0.1605},
              {0, 20, 0, 0.1611},
              {1, 29, 0.0061, 0.1718}};
  for (const auto& row : rows) {
    const Interval interval = wilson_interval(row.right, row.asked);
    EXPECT_NEAR(interval.low, row.low, 5e-5) << row.right << "/" << row.asked;
    EXPECT_NEAR(interval.high, row.high, 5e-5) << row.right << "/" << row.asked;
  }
}

TEST(EvalStatistics, wilson_ends_at_the_ends) {
  EXPECT_EQ(wilson_interval(0, 5).low, 0);
  EXPECT_EQ(wilson_interval(5, 5).high, 1);
  EXPECT_NEAR(wilson_interval(5, 5).low, 1 - wilson_interval(0, 5).high, 1e-12);
  EXPECT_EQ(wilson_interval(0, 0).low, 0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

// Agresti 2002, table 10.1: of 1,600, 150 approve only before and 86 only later.
TEST(EvalStatistics, a_paired_difference_has_its_published_interval) {
  const PairedDifference d = paired_difference(150, 86, 1600);
  EXPECT_NEAR(d.difference, -0.04, 1e-12);
  EXPECT_NEAR(d.interval.low, -0.0587, 5e-5);
  EXPECT_NEAR(d.interval.high, -0.0212, 5e-5);
  EXPECT_LT(d.p, 1e-4);
}

TEST(EvalStatistics, mcnemar_is_the_sign_test_of_what_changed) {
  EXPECT_NEAR(paired_difference(10, 2, 100).p, 2 * (1 + 12 + 66) / 4096.0, 1e-12);
  EXPECT_NEAR(paired_difference(2, 10, 100).p, 2 * (1 + 12 + 66) / 4096.0, 1e-12);
  EXPECT_NEAR(paired_difference(0, 6, 50).p, 2 / 64.0, 1e-12);
  EXPECT_EQ(paired_difference(3, 3, 10).p, 1);
  EXPECT_EQ(paired_difference(0, 0, 10).p, 1);
}

TEST(EvalStatistics, no_change_is_still_uncertain_and_no_pairs_say_nothing) {
  const PairedDifference none = paired_difference(0, 0, 100);
  EXPECT_EQ(none.difference, 0);
  EXPECT_LT(none.interval.low, 0);
  EXPECT_GT(none.interval.low, -0.03);
  EXPECT_EQ(none.interval.low, -none.interval.high);
  EXPECT_EQ(paired_difference(0, 0, 0).interval.low, -1);
}

}  // namespace
}  // namespace fathom
