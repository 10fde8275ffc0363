// Guessed tokens change the number of steps and nothing else: not the tokens, not where a sequence
// ends, not what is reserved. The fake engine guesses, right or wrong as often as the story wants.
#include <gmock/gmock.h>

#include <random>

#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;

constexpr SeqId kA{1}, kB{2};

FakeEngineConfig drafting(double acceptance, int32_t drafts_max = 3) {
  FakeEngineConfig config = stage::small_engine();
  config.drafts_max = drafts_max;
  config.draft_acceptance = acceptance;
  return config;
}

LoopConfig speculative(int32_t tokens = 3) {
  return {.rows_max = 8, .step_token_budget = 32, .speculative_tokens = tokens};
}

struct DraftStory : ::testing::TestWithParam<double> {
  stage::Wire wire;
  Node node{wire, speculative(), drafting(GetParam())};
  Sampling longer(int32_t max_tokens) { return {.temperature = 0, .max_tokens = max_tokens}; }
  void TearDown() override { node.end(); }
  size_t steps() const { return node.reports.size(); }
  void expect_no_gap(SeqId seq) const {
    int32_t next = 0;
    for (const Report& report : node.reports)
      for (const Row& row : report.rows) {
        if (row.seq != seq || row.tokens.empty()) continue;
        EXPECT_EQ(row.first, next);
        next += static_cast<int32_t>(row.tokens.size());
      }
  }
};

TEST_P(DraftStory, the_tokens_are_those_of_plain_decoding) {
  const auto prompt = prompt_of(10);
  for (const float temperature : {0.0f, 1.0f}) {
    Sampling sampling = longer(100);
    sampling.temperature = temperature;
    sampling.seed = 4711;
    const SeqId seq{temperature > 0 ? 1u : 2u};
    node.say({prefill(seq, prompt, 100, sampling)});
    node.settle();
    EXPECT_EQ(node.tokens_of(seq), expected(node.fake, prompt, sampling, 100));
    EXPECT_EQ(node.finish_of(seq), Finish::length);
    expect_no_gap(seq);
  }
}

TEST_P(DraftStory, the_lease_is_never_exceeded) {
  const auto prompt = prompt_of(6);
  node.say({prefill(kA, prompt, 2, longer(60))});
  int32_t leased = 2;
  // 6 + 2 positions are two blocks of 4; each renewal of 2 tokens brings exactly what it needs.
  for (int32_t i = 0; i < 20; ++i) {
    node.settle();
    ASSERT_EQ(node.tokens_of(kA).size(), static_cast<size_t>(leased));
    const int32_t had = blocks_for(6 + leased, 4);
    leased += 2;
    node.say({Renew{.seq = kA, .lease = 2, .blocks = blocks_for(6 + leased, 4) - had}});
  }
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(60), leased));
  EXPECT_EQ(node.failure_of(kA).code, Code::ok);
}

TEST_P(DraftStory, a_stop_token_in_the_middle_of_right_drafts_is_the_last_one_told) {
  const auto prompt = prompt_of(5);
  const auto chain = expected(node.fake, prompt, longer(40), 40);
  for (size_t stop = 3; stop < 40; stop += 3) {
    Sampling sampling = longer(40);
    sampling.logprobs = 2;
    sampling.stop_tokens = {chain[stop]};
    const auto end = static_cast<size_t>(std::ranges::find(chain, chain[stop]) - chain.begin()) + 1;
    const SeqId seq{100 + stop};
    node.say({prefill(seq, prompt, 40, sampling)});
    node.settle();
    EXPECT_EQ(
        node.tokens_of(seq),
        std::vector<TokenId>(chain.begin(), chain.begin() + static_cast<std::ptrdiff_t>(end)));
    EXPECT_EQ(node.finish_of(seq), Finish::stop);
    EXPECT_EQ(node.free_blocks(), node.fake.blocks);
    for (const Report& report : node.reports)
      for (const Row& row : report.rows) EXPECT_EQ(row.logprobs.size(), row.tokens.size());
    node.reports.clear();
  }
}

TEST_P(DraftStory, max_tokens_and_the_context_end_it_where_they_would) {
  for (int32_t n = 1; n < 12; ++n) {
    const SeqId seq{static_cast<uint64_t>(n)};
    node.say({prefill(seq, prompt_of(9), n, longer(n))});
    node.settle();
    EXPECT_EQ(node.tokens_of(seq).size(), static_cast<size_t>(n));
    EXPECT_EQ(node.finish_of(seq), Finish::length);
  }
  node.say({prefill(SeqId{50}, prompt_of(183), 50, longer(50))});
  node.settle();
  EXPECT_EQ(node.tokens_of(SeqId{50}).size(), 17u) << "200 positions in all";
  EXPECT_EQ(node.finish_of(SeqId{50}), Finish::length);
}

TEST_P(DraftStory, a_batch_with_prompts_in_between_keeps_the_budget_and_the_tokens) {
  std::mt19937 dice(11);
  std::vector<std::pair<SeqId, std::vector<TokenId>>> all;
  size_t widest = 0;
  node.engine.on_step = [&](const Plan& plan) {
    size_t tokens = 0;
    for (const StepRow& row : plan.rows) tokens += row.tokens.size();
    widest = std::max(widest, tokens);
  };
  for (uint64_t i = 1; i <= 40; ++i) {
    const auto prompt = prompt_of(4 + static_cast<int32_t>(dice() % 50), static_cast<TokenId>(i));
    const auto n = 5 + static_cast<int32_t>(dice() % 30);
    // At most 22 blocks each, of 64.
    if (i % 2 == 0 && node.free_blocks() < 44) node.settle();
    node.say({prefill(SeqId{i}, prompt, n, longer(n))});
    all.emplace_back(SeqId{i}, expected(node.fake, prompt, longer(n), n));
    for (uint32_t turns = 1 + dice() % 4; turns > 0; --turns) node.loop.turn();
  }
  node.settle();
  for (const auto& [seq, want] : all) EXPECT_EQ(node.tokens_of(seq), want) << seq.value;
  EXPECT_LE(widest, 32u);
}

TEST_P(DraftStory, acceptance_is_counted) {
  node.say({prefill(kA, prompt_of(4), 150, longer(150))});
  node.settle();
  const double drafts = node.metrics.draft_tokens.Value();
  const double right = node.metrics.accepted_draft_tokens.Value();
  EXPECT_GT(drafts, 0) << "it is tried at least";
  EXPECT_LE(right, drafts);
  if (GetParam() == 1.0) {
    EXPECT_EQ(right, drafts);
    EXPECT_LT(steps(), 150u * 2 / 3) << "several tokens a step";
  }
  if (GetParam() == 0.0) {
    EXPECT_EQ(right, 0);
  }
  EXPECT_EQ(node.metrics.generated_tokens.Value(), 150);
}

INSTANTIATE_TEST_SUITE_P(acceptance, DraftStory, ::testing::Values(0.0, 0.5, 0.8, 1.0),
                         [](const auto& instance) {
                           return "of_" + std::to_string(static_cast<int>(100 * instance.param)) +
                                  "_percent";
                         });

// A drafts here, B has another drafter or none: what A guessed never reaches B.
TEST(DraftTransfer, a_sequence_that_moved_goes_on_drafting_where_it_arrives) {
  stage::Wire wire;
  Node from(wire, {.rows_max = 8, .step_token_budget = 16, .speculative_tokens = 3}, drafting(0.7));
  Node to(wire, {.instance = 78, .rows_max = 8, .step_token_budget = 16, .speculative_tokens = 3},
          drafting(0.7));
  wire.peers["from"] = &from.loop.source();
  const auto prompt = prompt_of(30);
  const Sampling sampling{.temperature = 0, .max_tokens = 60};
  Prefill handoff = prefill(kA, prompt, 1, sampling);
  handoff.handoff = true;
  handoff.key = 99;
  wire.tokens = 30;
  from.say({handoff});
  to.say({Receive{.seq = kB,
                  .tokens = 30,
                  .blocks = blocks_for(90, 4),
                  .ticket = {.address = "from", .instance = 77, .seq = kA, .key = 99}}});
  to.loop.turn();
  from.settle();
  to.settle();
  ASSERT_TRUE(to.resident(kB));
  auto tokens = prompt;
  const auto first = from.tokens_of(kA);
  ASSERT_EQ(first.size(), 1u);
  tokens.push_back(first[0]);
  to.say({Decode{
      .seq = kB, .tokens = tokens, .prompt_tokens = 30, .sampling = sampling, .lease = 59}});
  to.settle();
  auto got = to.tokens_of(kB);
  got.insert(got.begin(), first[0]);
  EXPECT_EQ(got, expected(from.fake, prompt, sampling, 60));
  EXPECT_LT(to.reports.size(), 59u) << "drafts were right";
  from.say({Drop{kA}});
  from.settle();
}

}  // namespace
}  // namespace fathom
