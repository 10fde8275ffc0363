// Are experts chosen as V3 and V2 choose them? Hand-made rows whose answer can be read off, ties
// and negative biases among them.
#include <gtest/gtest.h>

#include "naive.h"

namespace fathom {
namespace {

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Routed route(const std::vector<float>& logits, RouteParams p) {
  const naive::Machine m("portable");
  p.logits = logits.data();
  p.experts = static_cast<int32_t>(logits.size());
  p.rows = 1;
  Routed r{std::vector<int32_t>(static_cast<size_t>(p.chosen)),
           std::vector<float>(static_cast<size_t>(p.chosen))};
  p.ids = r.ids.data();
  p.weights = r.weights.data();
  m.ops.route(m.ctx, p);
  return r;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Route, takes_the_largest_biased_scores_but_weighs_without_the_bias) {
  const std::vector<float> bias = {0.0f, 5.0f, 0.0f, 0.0f};
  const auto r = route({2.0f, -3.0f, 1.0f, 0.0f},
                       {.bias = bias.data(), .chosen = 2, .normalise = true, .factor = 2.5f});
  EXPECT_EQ(r.ids, (std::vector<int32_t>{1, 0}));
  const double a = sigmoid(-3), b = sigmoid(2);
  EXPECT_NEAR(r.weights[0], 2.5 * a / (a + b), 1e-6);
  EXPECT_NEAR(r.weights[1], 2.5 * b / (a + b), 1e-6);
}

TEST(Route, group_counts_by_the_sum_of_its_two_best) {
  // Group 0 has the single best expert, group 1 the best pair.
  const auto r =
      route({3.0f, -9.0f, -9.0f, 2.0f, 2.1f, -9.0f},
            {.groups = 2, .groups_kept = 1, .group_score = GroupScore::top2_sum, .chosen = 2});
  EXPECT_EQ(r.ids, (std::vector<int32_t>{4, 3}));
}

TEST(Route, group_counts_by_its_best_in_v2) {
  const auto r = route({3.0f, -9.0f, -9.0f, 2.0f, 2.1f, -9.0f}, {.groups = 2,
                                                                 .groups_kept = 1,
                                                                 .group_score = GroupScore::max,
                                                                 .scoring = Scoring::softmax,
                                                                 .chosen = 1,
                                                                 .normalise = false,
                                                                 .factor = 16.0f});
  EXPECT_EQ(r.ids, (std::vector<int32_t>{0}));
  double sum = 0;
  for (const double x : {3.0, -9.0, -9.0, 2.0, 2.1, -9.0}) sum += std::exp(x);
  EXPECT_NEAR(r.weights[0], 16 * std::exp(3.0) / sum, 1e-5);
}

TEST(Route, dropped_groups_lose_against_negative_scores) {
  // All biased scores of the kept group are below zero: with 0 for dropped experts, expert 0 or 1
  // would win.
  const std::vector<float> bias = {-5.0f, -5.0f, -2.0f, -2.0f};
  const auto r = route({0.0f, 0.0f, 0.0f, 0.5f},
                       {.bias = bias.data(), .groups = 2, .groups_kept = 1, .chosen = 2});
  EXPECT_EQ(r.ids, (std::vector<int32_t>{3, 2}));
}

TEST(Route, ties_go_to_the_lower_index) {
  EXPECT_EQ(route(std::vector<float>(8, 0.25f), {.groups = 4, .groups_kept = 2, .chosen = 3}).ids,
            (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(route({1.0f, 2.0f, 2.0f, 1.0f, 2.0f}, {.chosen = 4}).ids,
            (std::vector<int32_t>{1, 2, 4, 0}));
}

TEST(Route, rows_are_independent) {
  const auto logits = naive::random_floats(20 * 16, 4);
  const auto bias = naive::random_floats(16, 5);
  const naive::Machine m("portable", 2);
  std::vector<int32_t> ids(20 * 4);
  std::vector<float> weights(20 * 4);
  RouteParams p{.logits = logits.data(),
                .bias = bias.data(),
                .rows = 20,
                .experts = 16,
                .groups = 4,
                .groups_kept = 2,
                .chosen = 4,
                .factor = 2.5f,
                .ids = ids.data(),
                .weights = weights.data()};
  m.ops.route(m.ctx, p);
  for (int32_t t = 0; t < 20; ++t) {
    const auto alone = route({logits.begin() + t * 16, logits.begin() + (t + 1) * 16}, p);
    EXPECT_TRUE(std::equal(alone.ids.begin(), alone.ids.end(), ids.begin() + t * 4));
    EXPECT_TRUE(std::equal(alone.weights.begin(), alone.weights.end(), weights.begin() + t * 4));
  }
}

TEST(Route, survives_logits_that_are_not_numbers) {
  const auto r =
      route({NAN, NAN, NAN, NAN, NAN, NAN}, {.groups = 2, .groups_kept = 1, .chosen = 3});
  for (const int32_t id : r.ids) EXPECT_TRUE(id >= 0 && id < 6);
}

}  // namespace
}  // namespace fathom
