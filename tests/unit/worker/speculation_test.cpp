// Does the choice of drafts follow what was measured, and never settle on a loss?
#include "worker/speculation.h"

#include <gtest/gtest.h>

#include <random>

#include "worker/config.h"

namespace fathom {
namespace {

// A model of a machine: what a step costs, and how often a draft is right.
struct Machine {
  double base_ms = 10, row_ms = 0.1, draft_ms = 1;
  double acceptance = 0.8;
};

struct Run {
  double tokens = 0, seconds = 0;
  double rate() const { return tokens / seconds; }
};

// Lets the policy drive `steps` steps of `rows` rows.
Run drive(Speculation& policy, const Machine& machine, int32_t rows, int32_t steps, uint32_t seed) {
  std::mt19937 dice(seed);
  std::uniform_real_distribution<double> chance(0, 1);
  Run run;
  int32_t held = 0;  // drafts each row has
  for (int32_t s = 0; s < steps; ++s) {
    const int32_t asked = policy.choose(rows, true);
    const int32_t verified = std::min(asked, held);
    for (int32_t r = 0; r < rows; ++r) {
      int32_t right = 0;
      while (right < verified && chance(dice) < machine.acceptance) ++right;
      if (verified > 0) policy.observe_row(verified, right);
      run.tokens += 1 + right;
    }
    const double ms = machine.base_ms + machine.row_ms * rows * (1 + verified) +
                      (asked > 0 ? machine.draft_ms * asked : 0);
    policy.observe_step({.rows = rows,
                         .asked = asked,
                         .verified = rows * verified,
                         .pure = true,
                         .took = Duration::seconds(ms * 1e-3)});
    run.seconds += ms * 1e-3;
    held = std::max(policy.draft_next(asked), 0);
  }
  return run;
}

Run drive_plain(const Machine& machine, int32_t rows, int32_t steps) {
  Speculation off(0);
  return drive(off, machine, rows, steps, 1);
}

TEST(Speculation, without_drafts_nothing_is_asked) {
  Speculation off(0);
  EXPECT_EQ(off.choose(1, true), 0);
  EXPECT_EQ(off.draft_next(0), kNoDrafting);
}

TEST(Speculation, good_drafts_are_used) {
  Speculation policy(1);
  const Machine machine{.acceptance = 0.8};
  const double gain =
      drive(policy, machine, 1, 2000, 7).rate() / drive_plain(machine, 1, 2000).rate();
  EXPECT_GT(gain, 1.55) << "1.8 tokens in 11.2 / 10.1 of the time would be 1.62";
  EXPECT_NEAR(policy.acceptance(), 0.8, 0.12);
}

// What a step of the 1.1 B model costs here (docs/performance.md): 49 ms plainly, 17 ms for each
// row verified and 8 ms for each guess. One guess could give 1.31 there at most.
TEST(Speculation, a_drafter_that_is_right_gains_more_than_two_fifths_by_default) {
  Speculation policy(WorkerConfig{}.speculative_tokens);
  const Machine measured{.base_ms = 32, .row_ms = 17, .draft_ms = 8, .acceptance = 0.98};
  EXPECT_GT(drive(policy, measured, 1, 1000, 7).rate() / drive_plain(measured, 1, 1000).rate(),
            1.4);
}

TEST(Speculation, the_depth_follows_the_acceptance) {
  for (const auto& [acceptance, depth] : {std::pair{0.95, 3}, {0.02, 0}}) {
    Speculation policy(3);
    drive(policy, {.acceptance = acceptance}, 1, 3000, 3);
    int32_t most = 0;
    std::array<int32_t, 4> count{};
    for (int32_t i = 0; i < 50; ++i) ++count[static_cast<size_t>(policy.choose(1, false))];
    for (int32_t k = 0; k < 4; ++k)
      if (count[static_cast<size_t>(k)] > count[static_cast<size_t>(most)]) most = k;
    EXPECT_EQ(most, depth) << "acceptance " << acceptance;
  }
}

TEST(Speculation, poor_drafts_cost_next_to_nothing) {
  Speculation policy(3);
  const Machine machine{.draft_ms = 3, .acceptance = 0.05};
  const double gain =
      drive(policy, machine, 1, 20000, 7).rate() / drive_plain(machine, 1, 20000).rate();
  EXPECT_GT(gain, 0.99);
  EXPECT_EQ(policy.draft_next(0), kNoDrafting) << "not even followed";
}

TEST(Speculation, a_batch_that_makes_drafts_dear_turns_them_off_and_a_small_one_keeps_them) {
  Speculation policy(1);
  // Every row costs as much as the weights: verifying doubles the step.
  const Machine machine{.base_ms = 1, .row_ms = 10, .draft_ms = 1, .acceptance = 0.7};
  const Machine light{.base_ms = 10, .row_ms = 0.1, .draft_ms = 1, .acceptance = 0.7};
  EXPECT_GT(drive(policy, machine, 32, 5000, 5).rate() / drive_plain(machine, 32, 5000).rate(),
            0.98);
  EXPECT_EQ(policy.choose(32, false), 0);
  EXPECT_EQ(policy.draft_next(0), 0) << "a good drafter follows, so that it is ready";
  EXPECT_GT(drive(policy, light, 1, 2000, 5).rate() / drive_plain(light, 1, 2000).rate(), 1.4);
  EXPECT_EQ(policy.choose(1, false), 1);
  EXPECT_EQ(policy.choose(32, false), 0) << "each size of batch has its own choice";
}

TEST(Speculation, it_comes_back_when_drafts_become_good) {
  Speculation policy(1);
  drive(policy, {.acceptance = 0.0}, 1, 3000, 9);
  EXPECT_EQ(policy.choose(1, false), 0);
  drive(policy, {.acceptance = 0.95}, 1, 12000, 9);
  EXPECT_EQ(policy.choose(1, false), 1);
}

TEST(Speculation, steps_that_hold_a_prompt_are_not_used_for_trials) {
  Speculation policy(2);
  for (int32_t i = 0; i < 100; ++i) EXPECT_EQ(policy.choose(3, false), 0);
}

TEST(Speculation, the_same_observations_give_the_same_choices) {
  Speculation a(3), b(3);
  EXPECT_EQ(drive(a, {.acceptance = 0.6}, 5, 1000, 2).tokens,
            drive(b, {.acceptance = 0.6}, 5, 1000, 2).tokens);
  for (int32_t i = 0; i < 300; ++i) EXPECT_EQ(a.choose(5, true), b.choose(5, true));
}

}  // namespace
}  // namespace fathom
