// The planner's promises, as properties over random batches.
#include "worker/plan.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace fathom {
namespace {

std::vector<Share> planned(const std::vector<Runnable>& sequences, const PlanLimits& limits) {
  std::vector<Share> shares;
  plan(sequences, limits, shares);
  return shares;
}

constexpr Runnable decode_row() { return {.tokens = 1, .decode = true}; }
constexpr Runnable prompt(int32_t tokens) { return {.tokens = tokens}; }

TEST(Plan, decode_rows_go_before_an_older_prompt) {
  EXPECT_EQ(planned({prompt(100), decode_row(), decode_row()}, {.tokens_max = 10}),
            (std::vector<Share>{{1, 1}, {2, 1}, {0, 8}}));
}

TEST(Plan, prompts_share_what_is_left_in_order_of_admission) {
  EXPECT_EQ(planned({prompt(5), prompt(50), prompt(7)}, {.tokens_max = 16}),
            (std::vector<Share>{{0, 5}, {1, 11}}));
}

TEST(Plan, prompts_beside_decode_rows_may_get_less_than_is_left) {
  EXPECT_EQ(
      planned({prompt(5), prompt(50), decode_row()}, {.tokens_max = 100, .prompt_tokens_max = 12}),
      (std::vector<Share>{{2, 1}, {0, 5}, {1, 7}}));
  EXPECT_EQ(planned({prompt(50), decode_row()}, {.tokens_max = 100, .prompt_tokens_max = 0}),
            (std::vector<Share>{{1, 1}, {0, 1}}))
      << "never nothing";
}

TEST(Plan, who_waits_for_an_edit_gets_nothing) {
  EXPECT_TRUE(planned({{.tokens = 0}, {.tokens = 0, .decode = true}}, {}).empty());
}

TEST(Plan, nobody_starves_when_there_are_more_decode_rows_than_budget) {
  const std::vector<Runnable> rows(7, decode_row());
  for (int32_t budget = 1; budget < 7; ++budget) {
    std::set<int32_t> served;
    for (uint64_t turn = 0; turn < 14; ++turn)
      for (const Share& share : planned(rows, {.tokens_max = budget, .turn = turn}))
        served.insert(share.index);
    EXPECT_EQ(served.size(), rows.size()) << "budget " << budget;
  }
}

TEST(Plan, limits_hold_and_no_token_of_budget_is_wasted_in_random_batches) {
  std::mt19937 random(7);
  const auto below = [&](int32_t n) {
    return static_cast<int32_t>(random() % static_cast<uint32_t>(n));
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<Runnable> sequences(static_cast<size_t>(below(12)));
    int32_t wanted = 0;
    int32_t decodes = 0;
    for (Runnable& r : sequences) {
      r = below(2) ? prompt(below(40)) : Runnable{.tokens = below(2), .decode = true};
      wanted += r.tokens;
      decodes += r.decode ? r.tokens : 0;
    }
    const PlanLimits limits{
        .tokens_max = 1 + below(48), .rows_max = 1 + below(12), .turn = random()};
    const auto shares = planned(sequences, limits);
    int32_t total = 0;
    int32_t decoded = 0;
    std::set<int32_t> seen;
    bool prompts_began = false;
    for (const Share& share : shares) {
      const Runnable& r = sequences[static_cast<size_t>(share.index)];
      EXPECT_TRUE(seen.insert(share.index).second) << "one share each";
      EXPECT_GE(share.tokens, 1);
      EXPECT_LE(share.tokens, r.tokens);
      EXPECT_FALSE(r.decode && prompts_began) << "decode rows come first";
      prompts_began |= !r.decode;
      decoded += r.decode;
      total += share.tokens;
    }
    EXPECT_LE(total, limits.tokens_max);
    EXPECT_LE(static_cast<int32_t>(shares.size()), limits.rows_max);
    EXPECT_EQ(decoded, std::min({decodes, limits.tokens_max, limits.rows_max}));
    if (static_cast<int32_t>(shares.size()) < limits.rows_max) {
      EXPECT_EQ(total, std::min(wanted, limits.tokens_max));
    }
  }
}

}  // namespace
}  // namespace fathom
