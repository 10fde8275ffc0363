// What a prompt's beginning, computed once, saves: the same tokens with less work, alone, in a
// burst, on the way to another worker and after giving way; and when memory is short it is only
// memory.
#include <gmock/gmock.h>

#include <random>

#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;

constexpr SeqId kA{1}, kB{2}, kC{3};

struct PrefixStory : ::testing::Test {
  stage::Wire wire;
  Node node{wire, {.rows_max = 64, .step_token_budget = 16}};
  Sampling longer(int32_t max_tokens) { return {.temperature = 0, .max_tokens = max_tokens}; }

  void TearDown() override { node.end(); }
  int32_t cached(SeqId seq) const {
    int32_t out = 0;
    for (const Report& report : node.reports)
      for (const Row& row : report.rows)
        if (row.seq == seq && !row.tokens.empty()) out = std::max(out, row.cached);
    return out;
  }
  int32_t prompt_work() const {
    int32_t out = 0;
    for (const Report& report : node.reports) out += report.prefill_tokens;
    return out;
  }
};

TEST_F(PrefixStory, the_same_prompt_again_computes_its_last_block_alone) {
  const auto prompt = prompt_of(40);
  for (const SeqId seq : {kA, kB}) {
    node.say({prefill(seq, prompt, 5, longer(5))});
    node.settle();
    EXPECT_EQ(node.tokens_of(seq), expected(node.fake, prompt, longer(5), 5));
  }
  EXPECT_EQ(cached(kA), 0);
  EXPECT_EQ(cached(kB), 36) << "whole blocks of 4, and the last token is computed for its logits";
  EXPECT_EQ(prompt_work(), 40 + 4);
  EXPECT_EQ(node.metrics.prefix_cache_queries.Value(), 80);
  EXPECT_EQ(node.metrics.prefix_cache_hits.Value(), 36);
}

TEST_F(PrefixStory, the_router_hears_at_once_how_much_needs_no_computing) {
  node.say({prefill(kA, prompt_of(40), 1, longer(1))});
  node.settle();
  node.reports.clear();
  node.say(
      {prefill(kC, prompt_of(60, 100), 1, longer(1)), prefill(kB, prompt_of(44), 1, longer(1))});
  node.loop.turn();
  const Row& news = node.reports.front().rows.front();
  EXPECT_EQ(news.seq, kB);
  EXPECT_EQ(news.computed, 40);
  EXPECT_EQ(news.cached, 40);
  EXPECT_TRUE(news.tokens.empty());
}

TEST_F(PrefixStory, a_burst_with_one_system_prompt_computes_it_once) {
  FakeEngineConfig engine = stage::small_engine();
  engine.blocks = 32 * 19;
  Node large(wire, {.rows_max = 64, .step_token_budget = 16}, engine);
  std::vector<std::vector<TokenId>> prompts;
  Edits edits;
  for (uint64_t i = 0; i < 32; ++i) {
    auto& prompt = prompts.emplace_back(prompt_of(64));
    for (const TokenId own : prompt_of(5, 100 + static_cast<TokenId>(i))) prompt.push_back(own);
    edits.push_back(prefill(SeqId{i + 1}, prompt, 3, longer(3)));
  }
  large.say(edits);
  large.settle();
  int32_t work = 0;
  for (const Report& report : large.reports) work += report.prefill_tokens;
  EXPECT_EQ(work, 64 + 32 * 5);
  for (size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(large.tokens_of(SeqId{i + 1}), expected(engine, prompts[i], longer(3), 3)) << i;
}

TEST_F(PrefixStory, one_that_waits_takes_what_the_one_before_it_computes_meanwhile) {
  const auto prompt = prompt_of(50);
  node.say({prefill(kA, prompt, 2, longer(2)), prefill(kB, prompt, 2, longer(2))});
  node.settle();
  for (const SeqId seq : {kA, kB})
    EXPECT_EQ(node.tokens_of(seq), expected(node.fake, prompt, longer(2), 2));
  EXPECT_EQ(cached(kB), 48);
}

TEST_F(PrefixStory, a_prompt_that_is_still_computed_is_shared_as_far_as_it_is) {
  node.say({prefill(kA, prompt_of(60), 1, longer(1))});
  node.loop.turn();
  node.loop.turn();  // 32 tokens
  auto prompt = prompt_of(30);
  prompt.push_back(299);
  node.say({prefill(kB, prompt, 2, longer(2))});
  node.settle();
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, prompt, longer(2), 2));
  EXPECT_EQ(cached(kB), 28);
}

TEST_F(PrefixStory, scoring_a_prompt_computes_every_position_and_others_may_use_it) {
  Sampling score = longer(0);
  score.prompt_logprobs = 0;
  node.say({prefill(kA, prompt_of(40), 1, longer(1))});
  node.settle();
  node.reports.clear();
  node.say({prefill(kB, prompt_of(40), 0, score)});
  node.settle();
  EXPECT_EQ(prompt_work(), 40);
  EXPECT_EQ(node.metrics.prefix_cache_queries.Value(), 40) << "it asked for nothing";
}

TEST_F(PrefixStory, emitted_tokens_are_not_cached_as_a_prompt) {
  const auto prompt = prompt_of(12);
  const auto answer = expected(node.fake, prompt, longer(20), 20);
  node.say({prefill(kA, prompt, 20, longer(20))});
  node.settle();
  auto turn = prompt;
  turn.insert(turn.end(), answer.begin(), answer.end());
  node.say({prefill(kB, turn, 2, longer(2))});
  node.settle();
  EXPECT_EQ(cached(kB), 12);
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, turn, longer(2), 2));
}

TEST_F(PrefixStory, computing_again_after_giving_way_uses_the_prompt) {
  const auto prompt = prompt_of(21);
  const auto chain = expected(node.fake, prompt, longer(9), 9);
  node.say({prefill(kA, prompt, 4, longer(9))});
  node.settle();
  node.say({Drop{.seq = kA}});
  node.settle();
  node.reports.clear();
  auto again = prefill(kB, prompt, 9, longer(9));
  again.tokens.insert(again.tokens.end(), chain.begin(), chain.begin() + 4);
  again.lease = 5;
  node.say({again});
  node.settle();
  EXPECT_EQ(node.tokens_of(kB), std::vector<TokenId>(chain.begin() + 4, chain.end()));
  EXPECT_EQ(prompt_work(), 25 - 20);
}

TEST_F(PrefixStory, a_scored_prompt_that_goes_on_writes_no_block_that_others_read) {
  const auto prompt = prompt_of(8);
  node.say({prefill(kA, prompt, 0, longer(3))});
  node.settle();
  auto longer_prompt = prompt_of(10);
  node.say({prefill(kB, longer_prompt, 1, longer(1)), Renew{.seq = kA, .lease = 3, .blocks = 1}});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(3), 3));
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, longer_prompt, longer(1), 1));
  EXPECT_EQ(cached(kB), 4) << "the block of A's last position may be written once more";
}

TEST_F(PrefixStory, prompts_of_another_form_of_attention_share_nothing) {
  struct TwoForms final : stage::EngineShell {
    explicit TwoForms(const FakeEngineConfig& c)
        : EngineShell(make_fake_engine(c)), info_(EngineShell::info()) {
      info_.expanded_prompt_min = 20;
    }
    const EngineInfo& info() const override { return info_; }
    EngineInfo info_;
  };
  Node two(wire, {}, std::make_unique<TwoForms>(stage::small_engine()));
  two.say({prefill(kA, prompt_of(30), 1, longer(1))});
  two.settle();
  two.say({prefill(kB, prompt_of(19), 1, longer(1)), prefill(kC, prompt_of(20), 1, longer(1))});
  two.settle();
  EXPECT_EQ(two.metrics.prefix_cache_hits.Value(), 16) << "the one of 20 tokens alone";
}

TEST_F(PrefixStory, switched_off_every_prompt_is_computed) {
  Node off(wire, {.prefix_cache = false});
  for (const SeqId seq : {kA, kB}) {
    off.say({prefill(seq, prompt_of(40), 1, longer(1))});
    off.settle();
  }
  int32_t work = 0;
  for (const Report& report : off.reports) work += report.prefill_tokens;
  EXPECT_EQ(work, 80);
  EXPECT_EQ(off.metrics.prefix_cache_blocks.Value(), 0);
}

TEST_F(PrefixStory, reports_count_cached_blocks_as_free_and_shared_ones_once) {
  node.say({prefill(kA, prompt_of(40), 1, longer(1))});
  node.settle();
  EXPECT_EQ(node.reports.back().free_blocks, node.fake.blocks);
  EXPECT_EQ(node.metrics.prefix_cache_blocks.Value(), 10);
  node.say({prefill(kB, prompt_of(40), 2, longer(9)), prefill(kC, prompt_of(40), 2, longer(9))});
  node.settle();
  EXPECT_EQ(node.reports.back().free_blocks, node.fake.blocks - 9 - 2 - 2);
  EXPECT_EQ(node.leaked(), 0);
}

TEST_F(PrefixStory, a_cached_prefix_leaves_for_another_worker_like_a_computed_one) {
  stage::Wire to_home;
  Node home(to_home, {.role = Role::decode});
  to_home.peers["p:1"] = &node.loop.source();
  const auto prompt = prompt_of(42);
  const Sampling sampling = longer(6);
  for (const SeqId seq : {kA, kB}) {
    to_home.tokens = 42;
    home.say({Receive{.seq = seq,
                      .tokens = 42,
                      .blocks = 12,
                      .ticket = {.address = "p:1", .instance = 77, .seq = seq, .key = 8}}});
    home.settle();
    Prefill edit = prefill(seq, prompt, 1, sampling);
    edit.handoff = true;
    edit.key = 8;
    node.say({edit});
    node.settle();
    home.settle();
    EXPECT_TRUE(home.resident(seq));
    Decode decode{
        .seq = seq, .tokens = prompt, .prompt_tokens = 42, .sampling = sampling, .lease = 5};
    decode.tokens.push_back(node.tokens_of(seq).at(0));
    home.say({decode});
    home.settle();
    const auto all = expected(home.fake, prompt, sampling, 6);
    EXPECT_EQ(home.tokens_of(seq), std::vector<TokenId>(all.begin() + 1, all.end()));
    node.say({Drop{.seq = seq}});
    node.settle();
  }
  EXPECT_EQ(cached(kB), 40);
  home.loop.on_router_gone();
  home.settle();
}

TEST_F(PrefixStory, a_handoff_that_waits_takes_over_blocks_before_any_is_read) {
  stage::Wire to_home;
  Node home(to_home, {.role = Role::decode});
  to_home.peers["p:1"] = &node.loop.source();
  const auto prompt = prompt_of(42);
  const Sampling sampling = longer(3);
  to_home.tokens = 42;
  Edits edits;
  for (const SeqId seq : {kA, kB}) {
    home.say({Receive{.seq = seq,
                      .tokens = 42,
                      .blocks = 12,
                      .ticket = {.address = "p:1", .instance = 77, .seq = seq, .key = 8}}});
    Prefill edit = prefill(seq, prompt, 1, sampling);
    edit.handoff = true;
    edit.key = 8;
    edits.push_back(edit);
  }
  home.settle();
  node.say(edits);
  node.settle();
  EXPECT_EQ(cached(kB), 32) << "the steps before the one in which A's prompt ended and B's began";
  for (const SeqId seq : {kA, kB}) {
    Decode decode{
        .seq = seq, .tokens = prompt, .prompt_tokens = 42, .sampling = sampling, .lease = 2};
    decode.tokens.push_back(node.tokens_of(seq).at(0));
    home.say({decode});
    home.settle();
    const auto all = expected(home.fake, prompt, sampling, 3);
    EXPECT_EQ(home.tokens_of(seq), std::vector<TokenId>(all.begin() + 1, all.end()));
  }
  home.loop.on_router_gone();
  home.settle();
}

TEST_F(PrefixStory, a_prefix_outlives_its_router) {
  node.say({prefill(kA, prompt_of(40), 9, longer(9))});
  node.loop.turn();
  node.loop.turn();
  node.loop.turn();
  ASSERT_TRUE(node.loop.on_hello({.epoch = 2}).ok());
  node.settle();
  node.say({prefill(kB, prompt_of(40), 1, longer(1))});
  node.settle();
  EXPECT_EQ(cached(kB), 36);
}

// Requests with few different beginnings in a pool that holds two or three of them.
TEST_F(PrefixStory, under_pressure_tokens_stay_right_and_nothing_leaks) {
  std::mt19937 random(5);
  const auto below = [&](uint32_t n) { return static_cast<int32_t>(random() % n); };
  FakeEngineConfig engine = stage::small_engine();
  engine.blocks = 30;
  Node small(wire, {.rows_max = 8, .step_token_budget = 10}, engine);
  std::map<SeqId, std::pair<std::vector<TokenId>, int32_t>> asked;
  int32_t reserved = 0;
  std::map<SeqId, int32_t> running;
  for (uint64_t i = 1; i <= 600; ++i) {
    const SeqId seq{i};
    auto prompt = prompt_of(4 * (1 + below(8)), 50 * below(3));
    prompt.push_back(200 + below(3));
    const int32_t lease = 1 + below(6);
    const Prefill edit = prefill(seq, prompt, lease, longer(lease));
    while (reserved + edit.blocks > engine.blocks || running.size() == 8) {
      ASSERT_TRUE(small.loop.turn());
      ASSERT_EQ(small.leaked(), 0);
      std::erase_if(running, [&](const auto& each) {
        if (small.finish_of(each.first) == Finish::none) return false;
        reserved -= each.second;
        return true;
      });
    }
    reserved += edit.blocks;
    running[seq] = edit.blocks;
    asked[seq] = {prompt, lease};
    small.say({edit});
  }
  small.settle();
  for (const auto& [seq, what] : asked)
    ASSERT_EQ(small.tokens_of(seq), expected(engine, what.first, longer(what.second), what.second));
  EXPECT_GT(small.metrics.prefix_cache_hits.Value(), 1000);
  EXPECT_EQ(small.free_blocks(), engine.blocks);
}

}  // namespace
}  // namespace fathom
