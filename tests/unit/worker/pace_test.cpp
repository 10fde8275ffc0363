// Do streams that decode wait for a bounded time beside prompts, on fast machines and slow ones,
// and do prompts go on whatever happens?
#include "worker/pace.h"

#include <gmock/gmock.h>

#include <limits>

#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;
using ::testing::Each;
using ::testing::Le;

constexpr int32_t kBudget = 512;
constexpr double kTarget = 0.5;

// What a step takes: a part of its own, which holds what decodes, and a part for each token.
struct Machine {
  double step = 0.1, token = 0.007;
  Duration of(int32_t tokens) const { return Duration::seconds(step + token * tokens); }
};

// A step beside eight rows with as many tokens as the pace allows, at most `there`.
double run_step(Pace& pace, const Machine& machine, int32_t there = kBudget) {
  const int32_t tokens = std::min(pace.prompt_tokens_max(8, 0), there);
  const Duration took = machine.of(tokens);
  pace.observe({.prompt_tokens = tokens, .decode_rows = 8, .took = took});
  return took.to_seconds();
}
Pace after_a_prompt_alone(const Machine& machine, bool expands = false) {
  Pace pace(Duration::seconds(kTarget), expands);
  pace.observe({.prompt_tokens = kBudget, .decode_rows = 0, .took = machine.of(kBudget)});
  return pace;
}

TEST(Pace, steps_of_a_slow_machine_come_to_the_target) {
  const Machine slow;
  Pace pace = after_a_prompt_alone(slow);
  EXPECT_LT(run_step(pace, slow), 1.5 * kTarget) << "already the first knows what tokens cost";
  for (int i = 0; i < 8; ++i) run_step(pace, slow);
  EXPECT_NEAR(run_step(pace, slow), kTarget, 0.05 * kTarget);
}

TEST(Pace, a_fast_machine_is_not_held_back) {
  const Machine fast{.step = 0.01, .token = 20e-6};
  Pace pace = after_a_prompt_alone(fast);
  for (int i = 0; i < 8; ++i) run_step(pace, fast);
  EXPECT_GE(pace.prompt_tokens_max(8, 0), 4096);
}

TEST(Pace, the_few_tokens_at_the_end_of_a_prompt_do_not_slow_the_next_one) {
  const Machine slow;
  Pace pace = after_a_prompt_alone(slow);
  for (int i = 0; i < 8; ++i) run_step(pace, slow);
  const int32_t before = pace.prompt_tokens_max(8, 0);
  run_step(pace, slow, 3);
  EXPECT_EQ(pace.prompt_tokens_max(8, 0), before);
}

TEST(Pace, a_machine_that_others_come_to_use_is_followed_both_ways) {
  const Machine quiet, busy{.step = 0.2, .token = 0.02};
  Pace pace = after_a_prompt_alone(quiet);
  for (const Machine& machine : {quiet, busy, quiet}) {
    for (int i = 0; i < 12; ++i) run_step(pace, machine);
    EXPECT_NEAR(run_step(pace, machine), kTarget, 0.1 * kTarget);
  }
}

TEST(Pace, one_step_that_lost_the_processor_is_soon_forgotten) {
  const Machine slow;
  Pace pace = after_a_prompt_alone(slow);
  for (int i = 0; i < 8; ++i) run_step(pace, slow);
  run_step(pace, {.step = 20, .token = 0});
  EXPECT_GE(pace.prompt_tokens_max(8, 0), Pace::kTokensMin);
  for (int i = 0; i < 8; ++i) run_step(pace, slow);
  EXPECT_NEAR(run_step(pace, slow), kTarget, 0.1 * kTarget);
}

TEST(Pace, prompts_go_on_where_the_target_can_not_be_met) {
  Pace pace = after_a_prompt_alone({.step = 3, .token = 0.1}, true);
  for (int i = 0; i < 8; ++i) run_step(pace, {.step = 3, .token = 0.1});
  EXPECT_EQ(pace.prompt_tokens_max(1, 0), Pace::kTokensMin);
  EXPECT_EQ(pace.prompt_tokens_max(32, 0), 64) << "two for each row";
  EXPECT_EQ(pace.prompt_tokens_max(1, 2048), 256) << "expanding is paid for by what it serves";
  EXPECT_EQ(after_a_prompt_alone({.step = 3, .token = 0.1}).prompt_tokens_max(1, 2048),
            Pace::kTokensMin)
      << "where nothing is expanded";
}

TEST(Pace, nothing_is_bounded_before_a_prompt_was_seen_or_without_a_target) {
  Pace unaware(Duration::seconds(kTarget), false), careless(Duration{0}, false);
  careless.observe({.prompt_tokens = 10, .decode_rows = 1, .took = Duration::seconds(9)});
  EXPECT_EQ(unaware.prompt_tokens_max(8, 0), std::numeric_limits<int32_t>::max());
  EXPECT_EQ(careless.prompt_tokens_max(8, 0), std::numeric_limits<int32_t>::max());
}

TEST(PaceStory, a_stream_waits_half_a_second_for_another_prompt_on_a_slow_machine) {
  constexpr SeqId kStream{1}, kPrompt{2};
  const Machine slow;
  const auto fake = FakeEngineConfig{
      .blocks = 200, .block_tokens = 4, .context_max = 700, .vocab = 900, .steps_ahead = false};
  stage::Wire wire;
  Node node{wire,
            {.rows_max = 8, .step_token_budget = kBudget, .mixed_step = Duration::seconds(kTarget)},
            fake};
  std::vector<double> steps;  // that the stream was in
  node.engine.on_step = [&](const Plan& plan) {
    int32_t tokens = 0;
    for (const StepRow& row : plan.rows) tokens += static_cast<int32_t>(row.tokens.size());
    node.clock.advance(slow.of(tokens));
    if (plan.rows.size() > 1) steps.push_back(slow.of(tokens).to_seconds());
  };
  const Sampling sampling{.temperature = 0, .max_tokens = 100};
  const auto prompt = prompt_of(500, 200);
  node.say({prefill(kStream, prompt_of(100), 100, sampling)});
  node.loop.turn();
  node.say({prefill(kPrompt, prompt, 3, {.temperature = 0, .max_tokens = 3})});
  node.settle();
  ASSERT_GE(steps.size(), 5u) << "the prompt came in pieces";
  EXPECT_THAT(steps, Each(Le(1.6 * kTarget)));
  EXPECT_NEAR(steps[steps.size() / 2], kTarget, 0.2 * kTarget);
  EXPECT_EQ(node.tokens_of(kPrompt),
            expected(fake, prompt, {.temperature = 0, .max_tokens = 3}, 3));
  EXPECT_EQ(node.tokens_of(kStream).size(), 100u);
  node.end();
}

}  // namespace
}  // namespace fathom
