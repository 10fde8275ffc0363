// Is a token's weight e^y to float32, a whole number of 2^-35, and are sums of weights exact in any
// order? On that rests that a GPU draws what the CPU draws.
#include "kernels/weight_of_logit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace fathom {
namespace {

TEST(WeightOfLogit, weight_is_the_exponential_on_a_grid) {
  const double grid = std::ldexp(1.0, -kWeightBits);
  for (float y = 0.0f; y > -130.0f; y -= 0.00037f) {
    const double want = std::exp(double{y}), got = weight_of(y);
    ASSERT_NEAR(got, want, 2.5e-7 * want + grid / 2) << y;
    ASSERT_EQ(got / grid, std::floor(got / grid)) << y;
  }
  EXPECT_EQ(weight_of(0.0f), 1.0f);
  EXPECT_EQ(weight_of(-INFINITY), 0.0f);
}

TEST(WeightOfLogit, sums_do_not_depend_on_their_order) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, 6.0f);
  std::vector<float> weights(150'000);
  for (float& w : weights) w = weight_of(-std::abs(normal(random)));
  const auto sum = [&] {
    double s = 0;
    for (const float w : weights) s += w;
    return s;
  };
  const double want = sum();
  for (int time = 0; time < 5; ++time) {
    std::shuffle(weights.begin(), weights.end(), random);
    EXPECT_EQ(sum(), want);
  }
}

}  // namespace
}  // namespace fathom
