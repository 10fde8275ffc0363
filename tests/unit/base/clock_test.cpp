// Is "no deadline" later than anything, whatever is added to it?
#include "base/clock.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Clock, never_stays_never) {
  EXPECT_EQ(kNever + Duration::seconds(1), kNever);
  EXPECT_EQ(kNever - Duration::seconds(1), kNever);
  EXPECT_LT(Instant{INT64_MAX - 1}, kNever);
}

TEST(Clock, manual_time_moves_only_when_told) {
  ManualClock clock;
  const Instant start = clock.now();
  EXPECT_EQ(clock.now(), start);
  clock.advance(Duration::ms(1500));
  EXPECT_EQ(clock.now() - start, Duration::seconds(1.5));
  EXPECT_EQ(clock.unix_seconds(), 1'700'000'001);
}

TEST(Clock, the_machines_clock_never_goes_back) {
  const SystemClock clock;
  const Instant first = clock.now();
  EXPECT_GE(clock.now(), first);
  EXPECT_GT(clock.unix_seconds(), 1'700'000'000);
}

}  // namespace
}  // namespace fathom
