// One worker alone: what each edit does, how leases and endings are counted, and that nothing
// leaks.
#include <gmock/gmock.h>

#include <random>

#include "tests/unit/worker/stage.h"
#include "worker/step_watch.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr SeqId kA{1}, kB{2}, kC{3};

// Each is told twice: without and with steps ahead.
struct LoopStory : ::testing::TestWithParam<bool> {
  stage::Wire wire;
  Node node{wire, {.rows_max = 8, .step_token_budget = 16}, stage::small_engine(GetParam())};
  Sampling longer(int32_t max_tokens) { return {.temperature = 0, .max_tokens = max_tokens}; }
  void TearDown() override { node.end(); }
};

INSTANTIATE_TEST_SUITE_P(Steps, LoopStory, ::testing::Bool(), [](const auto& ahead) {
  return std::string(ahead.param ? "ahead" : "one_by_one");
});

TEST_P(LoopStory, a_request_runs_from_prompt_to_its_last_token) {
  const auto prompt = prompt_of(10);
  node.say({prefill(kA, prompt, 12, longer(12))});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(12), 12));
  EXPECT_EQ(node.finish_of(kA), Finish::length);
  EXPECT_EQ(node.free_blocks(), node.fake.blocks) << "freed by itself";
  int32_t first = 0;
  for (const Report& report : node.reports)
    for (const Row& row : report.rows) EXPECT_EQ(row.first, first++);
  EXPECT_EQ(node.reports.size(), 12u) << "one report per step";
}

TEST_P(LoopStory, decoding_goes_on_while_a_long_prompt_is_computed_in_chunks) {
  node.say({prefill(kA, prompt_of(4), 100, longer(100))});
  node.loop.turn();
  node.say({prefill(kB, prompt_of(60, 100), 1, longer(1))});
  for (int i = 0; i < 5; ++i) node.loop.turn();
  EXPECT_EQ(node.tokens_of(kA).size(), 6u) << "a token in every step";
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, prompt_of(60, 100), longer(1), 1));
  std::vector<int32_t> computed;
  for (const Report& report : node.reports)
    for (const Row& row : report.rows)
      if (row.seq == kB) computed.push_back(row.computed);
  EXPECT_THAT(computed, ElementsAre(15, 30, 45, 60));
  for (const Report& report : node.reports)
    EXPECT_LE(report.prefill_tokens + report.decode_rows, 16) << "the budget holds";
}

TEST_P(LoopStory, a_spent_lease_pauses_and_a_renewal_goes_on_without_a_gap) {
  const auto prompt = prompt_of(6);
  node.say({prefill(kA, prompt, 3, longer(20))});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA).size(), 3u);
  EXPECT_EQ(node.finish_of(kA), Finish::none);
  EXPECT_LT(node.free_blocks(), node.fake.blocks) << "its KV is kept";
  node.say({Renew{.seq = kA, .lease = 5, .blocks = 2}});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(20), 8));
}

TEST_P(LoopStory, a_stop_token_ends_it_unless_it_comes_too_early) {
  const auto prompt = prompt_of(5);
  const auto chain = expected(node.fake, prompt, longer(30), 30);
  Sampling sampling = longer(30);
  sampling.stop_tokens = {chain[7]};
  node.say({prefill(kA, prompt, 30, sampling)});
  sampling.stop_tokens = {chain[2]};
  sampling.min_tokens = 3;
  node.say({prefill(kB, prompt, 30, sampling)});
  node.settle();
  const auto ends = static_cast<size_t>(std::ranges::find(chain, chain[7]) - chain.begin()) + 1;
  EXPECT_EQ(node.tokens_of(kA).size(), ends) << "the stop token is the last one told";
  EXPECT_EQ(node.finish_of(kA), Finish::stop);
  EXPECT_GT(node.tokens_of(kB).size(), 3u);
}

TEST_P(LoopStory, the_context_ends_a_sequence_with_length) {
  node.say({prefill(kA, prompt_of(190), 50, longer(50))});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA).size(), 10u);
  EXPECT_EQ(node.finish_of(kA), Finish::length);
}

TEST_P(LoopStory, tokens_emitted_before_a_move_count_and_continue_the_chain) {
  const auto prompt = prompt_of(7);
  const auto chain = expected(node.fake, prompt, longer(9), 9);
  auto again = prefill(kA, prompt, 9, longer(9));
  again.tokens.insert(again.tokens.end(), chain.begin(), chain.begin() + 4);
  again.lease = 5;
  node.say({again});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), std::vector<TokenId>(chain.begin() + 4, chain.end()));
  EXPECT_EQ(node.reports.front().rows.front().first, 4);
  EXPECT_EQ(node.finish_of(kA), Finish::length);
}

TEST_P(LoopStory, a_lease_of_zero_scores_the_prompt_and_draws_nothing) {
  Sampling score = longer(0);
  score.prompt_logprobs = 2;
  node.say({prefill(kA, prompt_of(40), 0, score)});
  node.settle();
  size_t scored = 0;
  for (const Report& report : node.reports)
    for (const Row& row : report.rows) scored += row.prompt_logprobs.size();
  EXPECT_EQ(scored, 39u) << "one for each prompt token but the first";
  EXPECT_TRUE(node.tokens_of(kA).empty());
  EXPECT_EQ(node.finish_of(kA), Finish::length);
}

TEST_P(LoopStory, a_scored_prompt_that_is_renewed_draws_what_it_would_have_drawn) {
  const auto prompt = prompt_of(8);
  node.say({prefill(kA, prompt, 0, longer(3))});
  node.settle();
  EXPECT_EQ(node.finish_of(kA), Finish::none);
  node.say({Renew{.seq = kA, .lease = 3, .blocks = 1}});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(3), 3));
}

TEST_P(LoopStory, logprobs_come_with_every_token_when_asked) {
  Sampling sampling = longer(4);
  sampling.logprobs = 3;
  node.say({prefill(kA, prompt_of(4), 4, sampling)});
  node.settle();
  for (const Report& report : node.reports)
    for (const Row& row : report.rows) {
      ASSERT_EQ(row.logprobs.size(), row.tokens.size());
      EXPECT_EQ(row.logprobs[0].top.size(), 3u);
    }
}

TEST_P(LoopStory, penalties_see_every_token_once_sorted_with_its_count) {
  std::vector<TokenCount> seen;
  node.engine.on_step = [&](const Plan& plan) {
    seen.assign(plan.rows[0].state.counts.begin(), plan.rows[0].state.counts.end());
  };
  Sampling sampling = longer(3);
  sampling.frequency_penalty = 0.5f;
  sampling.logit_bias = {{9, 100.0f}};  // the fake engine always draws 9
  node.say({prefill(kA, {20, 9, 20, 5}, 3, sampling)});
  node.settle();
  EXPECT_THAT(seen, ElementsAre(TokenCount{5, 0}, TokenCount{9, 2}, TokenCount{20, 0}));
  sampling.frequency_penalty = 0;
  node.say({prefill(kB, {20, 9}, 2, sampling)});
  node.settle();
  EXPECT_TRUE(seen.empty()) << "nobody counts without a penalty";
}

TEST_P(LoopStory, an_edit_that_breaks_the_contract_fails_its_sequence_and_nothing_else) {
  node.say({prefill(kC, prompt_of(5), 6, longer(6))});
  struct Case {
    Edit edit;
    std::string field;
  };
  const auto broken = [&](auto change) {
    Prefill edit = prefill(kA, prompt_of(5), 2, longer(2));
    change(edit);
    return edit;
  };
  const std::vector<Case> cases = {
      {broken([](Prefill& e) { e.tokens.clear(); }), "tokens"},
      {broken([](Prefill& e) { e.tokens[2] = 300; }), "tokens"},
      {broken([](Prefill& e) { e.tokens[2] = -1; }), "tokens"},
      {broken([](Prefill& e) { e.tokens = prompt_of(201); }), "tokens"},
      {broken([](Prefill& e) { e.prompt_tokens = 0; }), "prompt_tokens"},
      {broken([](Prefill& e) { e.prompt_tokens = 6; }), "prompt_tokens"},
      {broken([](Prefill& e) { e.lease = -1; }), "lease"},
      {broken([](Prefill& e) { e.blocks = -5; }), "blocks"},
      {broken([](Prefill& e) { e.handoff = true; }), "lease"},
      {broken([](Prefill& e) { e.sampling.stop_tokens = {4000}; }), "sampling.stop_tokens"},
      {broken([](Prefill& e) { e.sampling.logit_bias = {{-3, 1.0f}}; }), "sampling.logit_bias"},
      {broken([](Prefill& e) { e.sampling.logprobs = 21; }), "sampling.logprobs"},
      {broken([](Prefill& e) { e.sampling.max_tokens = -1; }), "sampling.max_tokens"},
      {Decode{.seq = kA, .tokens = {1, 2}, .prompt_tokens = 1, .lease = 1}, "seq"},
      {Receive{.seq = kA, .tokens = 0, .blocks = 1, .ticket = {.address = "p"}}, "tokens"},
      {Receive{.seq = kA, .tokens = 4, .blocks = 1}, "ticket.address"},
  };
  for (const Case& each : cases) {
    node.reports.clear();
    node.say({each.edit});
    node.loop.turn();
    EXPECT_EQ(node.failure_of(kA).code, Code::invalid_argument) << each.field;
    EXPECT_EQ(node.failure_of(kA).field, each.field);
    EXPECT_EQ(node.failure_of(kC).code, Code::ok);
  }
}

TEST_P(LoopStory, a_second_sequence_of_the_same_id_costs_the_first_one_too) {
  node.say({prefill(kA, prompt_of(5), 3, longer(30)), prefill(kA, prompt_of(5), 3, longer(30))});
  node.settle();
  EXPECT_EQ(node.failure_of(kA).code, Code::invalid_argument);
  EXPECT_TRUE(node.tokens_of(kA).empty());
  EXPECT_EQ(node.free_blocks(), node.fake.blocks);
}

TEST_P(LoopStory, more_blocks_than_there_are_names_the_account) {
  auto edit = prefill(kA, prompt_of(5), 3, longer(3));
  edit.blocks = 65;
  node.say({edit});
  node.settle();
  EXPECT_EQ(node.failure_of(kA).code, Code::resource_exhausted);
  EXPECT_THAT(node.failure_of(kA).message, HasSubstr("65 blocks were reserved, 64 of 64 are free"));
}

TEST_P(LoopStory, a_lease_its_blocks_do_not_cover_is_refused) {
  auto edit = prefill(kA, prompt_of(8), 5, longer(50));
  edit.blocks = 2;
  auto fits = prefill(kB, prompt_of(8), 1, longer(1));
  fits.blocks = 2;  // the last token granted is never computed
  node.say({edit, fits});
  node.settle();
  EXPECT_EQ(node.failure_of(kA).code, Code::resource_exhausted);
  EXPECT_EQ(node.failure_of(kA).field, "blocks");
  EXPECT_EQ(node.tokens_of(kB).size(), 1u);
  node.say({prefill(kC, prompt_of(4), 2, longer(50))});
  node.settle();
  node.say({Renew{.seq = kC, .lease = 40, .blocks = 1}});
  node.settle();
  EXPECT_EQ(node.failure_of(kC).code, Code::resource_exhausted);
  EXPECT_EQ(node.free_blocks(), node.fake.blocks);
}

TEST_P(LoopStory, one_sequence_more_than_it_holds_is_refused) {
  Edits edits;
  for (uint64_t i = 1; i <= 9; ++i) edits.push_back(prefill(SeqId{i}, prompt_of(4), 2, longer(9)));
  node.say(edits);
  node.settle();
  EXPECT_EQ(node.failure_of(SeqId{9}).field, "rows_max");
  EXPECT_EQ(node.failure_of(SeqId{8}).code, Code::ok);
}

TEST_P(LoopStory, a_row_that_is_not_a_number_fails_alone) {
  node.engine.after_step = [](StepResult& result) {
    result.rows[0].status = Error{Code::internal, "a logit is not a number", "logits"};
    result.rows[0].tokens.clear();
  };
  node.say({prefill(kA, prompt_of(4), 3, longer(3))});
  node.loop.turn();
  node.engine.after_step = nullptr;
  node.say({prefill(kB, prompt_of(4), 3, longer(3))});
  node.settle();
  EXPECT_EQ(node.failure_of(kA).code, Code::internal);
  EXPECT_EQ(node.tokens_of(kB).size(), 3u);
}

TEST_P(LoopStory, late_words_about_a_sequence_that_ended_are_ignored) {
  node.say({prefill(kA, prompt_of(4), 1, longer(1))});
  node.settle();
  node.reports.clear();
  node.say({Renew{.seq = kA, .lease = 5, .blocks = 1}, Drop{.seq = kA}});
  node.settle();
  EXPECT_TRUE(node.reports.empty());
}

TEST_P(LoopStory, a_broken_group_ends_the_loop_with_its_error) {
  node.say({prefill(kA, prompt_of(4), 1, longer(1))});
  node.engine.broken = true;
  const Status ended = node.loop.run();
  EXPECT_EQ(ended.error().text(), "UNAVAILABLE: rank 1 is gone (group)");
  node.engine.broken = false;
}

TEST_P(LoopStory, a_new_router_starts_empty_and_an_old_one_is_refused) {
  const auto welcome = node.loop.on_hello({.epoch = 10, .step_token_budget = 4});
  ASSERT_TRUE(welcome.ok());
  EXPECT_EQ(welcome->blocks, 64);
  EXPECT_EQ(welcome->instance, 77u);
  node.say({prefill(kA, prompt_of(9), 30, longer(30))});
  node.loop.turn();
  EXPECT_EQ(node.reports.back().prefill_tokens, 4) << "the router's budget counts";
  ASSERT_TRUE(node.loop.on_hello({.epoch = 11}).ok());
  node.reports.clear();
  node.settle();
  EXPECT_TRUE(node.reports.empty()) << "nothing of the old router's is told to the new one";
  EXPECT_EQ(node.free_blocks(), node.fake.blocks);
  EXPECT_EQ(node.loop.on_hello({.epoch = 10}).error().field, "epoch");
  EXPECT_EQ(node.loop.on_hello({.protocol = 9, .epoch = 12}).error().field, "protocol");
}

TEST_P(LoopStory, while_a_step_does_not_return_no_router_is_welcome) {
  const Duration stall = LoopConfig{}.stall;
  node.say({prefill(kA, prompt_of(9), 30, longer(30))});
  bool looked = false;
  node.engine.on_step = [&](const Plan&) {
    if (std::exchange(looked, true)) return;
    EXPECT_EQ(node.loop.running_for(), Duration{});
    node.clock.advance(stall);
    EXPECT_TRUE(node.loop.on_hello({.epoch = 10}).ok()) << "it may still return in time";
    node.clock.advance(Duration::seconds(1));
    EXPECT_EQ(node.loop.running_for(), stall + Duration::seconds(1));
    const auto refused = node.loop.on_hello({.epoch = 11});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::unavailable);
    EXPECT_EQ(refused.error().field, "step");
  };
  node.loop.turn();
  EXPECT_TRUE(looked);
  EXPECT_EQ(node.loop.running_for(), Duration{});
  EXPECT_TRUE(node.loop.on_hello({.epoch = 10}).ok()) << "a refused router's epoch fences nobody";
  node.settle();
  EXPECT_TRUE(node.reports.empty()) << "what the step computed is told to nobody";
  EXPECT_EQ(node.free_blocks(), node.fake.blocks);
}

TEST(StepWatch, what_the_step_has_taken_so_far_is_shown) {
  Metrics registry;
  WorkerMetrics metrics(registry);
  StepWatch watch(Duration::seconds(5), metrics);
  for (const double seconds : {0.0, 3.0, 6.0, 7.0, 0.5, 0.0}) {
    watch.look(Duration::seconds(seconds));
    EXPECT_EQ(metrics.step_running_seconds.Value(), seconds);
  }
}

TEST_P(LoopStory, draining_finishes_what_runs_and_then_ends) {
  node.say({prefill(kA, prompt_of(4), 3, longer(3))});
  node.loop.drain();
  EXPECT_TRUE(node.loop.run().ok());
  EXPECT_EQ(node.tokens_of(kA).size(), 3u);
  EXPECT_TRUE(node.reports.front().draining);
  EXPECT_TRUE(node.loop.drained());
}

TEST_P(LoopStory, random_edits_never_crash_nor_leak) {
  std::mt19937 random(3);
  const auto below = [&](int32_t n) {
    return static_cast<int32_t>(random() % static_cast<uint32_t>(n));
  };
  for (int round = 0; round < 4000; ++round) {
    const SeqId seq{static_cast<uint64_t>(1 + below(12))};
    switch (below(6)) {
      case 0:
      case 1: {
        auto edit = prefill(seq, prompt_of(1 + below(30)), below(6), longer(below(12)));
        edit.blocks += below(4) - 1;
        edit.handoff = below(5) == 0;
        node.say({edit});
        break;
      }
      case 2:
        node.say({Renew{.seq = seq, .lease = below(8) - 1, .blocks = below(4)}});
        break;
      case 3:
        node.say({Drop{.seq = seq}});
        break;
      case 4:
        node.say(
            {Decode{.seq = seq, .tokens = prompt_of(below(5)), .prompt_tokens = 1, .lease = 2}});
        break;
      default:
        if (below(20) == 0) node.loop.on_router_gone();
    }
    node.loop.turn();
    ASSERT_EQ(node.leaked(), 0) << "round " << round;
  }
}

}  // namespace
}  // namespace fathom
