// Does a refusal arrive as it was said, and stop the function that met it?
#include "base/result.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return invalid("must be even, is " + std::to_string(n), "n");
  return n / 2;
}

Result<int> quarter(int n) {
  FATHOM_TRY(const int once, half(n));
  FATHOM_TRY(const int twice, half(once));
  return twice;
}

Status divisible_by_four(int n) {
  FATHOM_CHECKED(half(n));
  FATHOM_CHECKED(half(n / 2));
  return {};
}

TEST(Result, holds_a_value_or_the_first_error_on_the_way) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).error(), invalid("must be even, is 3", "n"));
  EXPECT_TRUE(divisible_by_four(8).ok());
  EXPECT_EQ(divisible_by_four(5).error().message, "must be even, is 5");
}

TEST(Result, an_error_is_one_line_with_its_code_and_field) {
  EXPECT_EQ(invalid("must be even", "n").text(), "INVALID_ARGUMENT: must be even (n)");
  EXPECT_EQ((Error{Code::data_loss, "a block was damaged", ""}.text()),
            "DATA_LOSS: a block was damaged");
  EXPECT_EQ(code_name(static_cast<Code>(200)), "UNKNOWN");
}

TEST(Result, a_value_that_is_not_there_stops_the_process) {
  EXPECT_DEATH((void)half(3).value(), "CHECK failed at .*INVALID_ARGUMENT: must be even, is 3");
  EXPECT_DEATH((void)half(4).error(), "no error in this Result");
}

}  // namespace
}  // namespace fathom
