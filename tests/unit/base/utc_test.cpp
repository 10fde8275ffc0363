#include "base/utc.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Utc, a_moment_is_read_and_written_to_the_second) {
  EXPECT_EQ(unix_seconds_of("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(unix_seconds_of("2023-11-14T22:13:20Z"), 1'700'000'000);
  EXPECT_EQ(unix_seconds_of("2024-02-29T23:59:59+00:00"), 1'709'251'199);
  EXPECT_EQ(unix_seconds_of("2024-02-29t23:59:59.999z"), 1'709'251'199);
  EXPECT_EQ(unix_seconds_of("2016-12-31T23:59:60Z"), unix_seconds_of("2017-01-01T00:00:00Z"));
  EXPECT_EQ(utc_text(1'700'000'000), "2023-11-14T22:13:20Z");
  EXPECT_EQ(utc_text(253'402'300'799), "9999-12-31T23:59:59Z");
  EXPECT_EQ(utc_date(1'709'251'199), "2024-02-29");
}

TEST(Utc, what_is_no_moment_in_utc_is_refused) {
  for (const char* text :
       {"", "2026", "2026-11-01", "2026-11-01T00:00:00", "2026-11-01T00:00:00+02:00",
        "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-01T24:00:00Z",
        "2026-11-01T00:60:00Z", "2026-11-01T00:00:61Z", "2026-11-01T00:00:00.Z",
        "1969-12-31T23:59:59Z", "26-11-01T00:00:00Z", "2026-11-01T00:00:00Z ",
        "+026-11-01T00:00:00Z", "2026-11-01T00:00:00.1"})
    EXPECT_EQ(unix_seconds_of(text), std::nullopt) << text;
}

TEST(Utc, every_day_of_four_centuries_comes_back) {
  for (int64_t day = 0; day < 146'097; ++day) {
    const int64_t moment = day * 86'400 + day % 86'400;
    ASSERT_EQ(unix_seconds_of(utc_text(moment)), moment) << utc_text(moment);
  }
}

}  // namespace
}  // namespace fathom
