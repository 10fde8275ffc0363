// Does FakeEngine notice everything a broken cluster could do to a sequence?
#include <gtest/gtest.h>

#include <numeric>

#include "engine/fake_engine.h"

namespace fathom {
namespace {

struct Driver {
  FakeEngineConfig config{.blocks = 64, .block_tokens = 4};
  std::unique_ptr<Engine> engine = make_fake_engine(config);
  Sampling sampling{.temperature = 0};
  std::vector<BlockIndex> blocks;

  explicit Driver(std::vector<BlockIndex> table) : blocks(std::move(table)) {}

  TokenId feed(std::span<const TokenId> tokens, int32_t position, bool sample = true) {
    Plan plan;
    plan.rows.push_back({.tokens = tokens,
                         .position = position,
                         .prompt_tokens = 1,
                         .blocks = blocks,
                         .sample = sample,
                         .state = {.sampling = &sampling}});
    const auto drawn = engine->step(plan).value().rows[0].tokens;
    return drawn.empty() ? -1 : drawn[0];
  }
  std::vector<TokenId> generate(std::vector<TokenId> tokens, int32_t count) {
    std::vector<TokenId> out = {feed(tokens, 0)};
    while (static_cast<int32_t>(out.size()) < count) {
      const auto position = static_cast<int32_t>(tokens.size() + out.size()) - 1;
      out.push_back(feed(std::span(&out.back(), 1), position));
    }
    return out;
  }
};

std::vector<TokenId> expected(const Driver& d, std::vector<TokenId> tokens, int32_t count) {
  std::vector<TokenId> out;
  for (int32_t i = 0; i < count; ++i) {
    out.push_back(expected_token(d.config, tokens, d.sampling));
    tokens.push_back(out.back());
  }
  return out;
}

const std::vector<TokenId> kPrompt = {5, 9, 2, 6, 5, 3, 5, 8, 9};

TEST(FakeEngine, a_pure_function_predicts_every_token) {
  Driver d({7, 3, 11, 1, 20, 21});
  EXPECT_EQ(d.generate(kPrompt, 12), expected(d, kPrompt, 12));
}

TEST(FakeEngine, chunks_make_no_difference) {
  Driver d({7, 3, 11, 1, 20, 21});
  d.feed(std::span(kPrompt).first(5), 0, false);
  EXPECT_EQ(d.feed(std::span(kPrompt).subspan(5), 5),
            expected_token(d.config, kPrompt, d.sampling));
}

TEST(FakeEngine, the_seed_counts_only_with_a_temperature) {
  Driver d({0, 1, 2, 3});
  Sampling a{.temperature = 0, .seed = 1}, b{.temperature = 0, .seed = 2};
  EXPECT_EQ(expected_token(d.config, kPrompt, a), expected_token(d.config, kPrompt, b));
  a.temperature = b.temperature = 1;
  EXPECT_NE(expected_token(d.config, kPrompt, a), expected_token(d.config, kPrompt, b));
}

TEST(FakeEngine, a_moved_sequence_goes_on_where_it_was) {
  Driver from({7, 3, 11, 1}), to({40, 2, 33, 9});
  const TokenId first = from.feed(kPrompt, 0);
  for (size_t i = 0; i < 3; ++i) {
    std::vector<std::byte> bytes(static_cast<size_t>(from.engine->info().kv.block_bytes));
    ASSERT_TRUE(from.engine->export_block(from.blocks[i], bytes).ok());
    ASSERT_TRUE(to.engine->import_block(to.blocks[i], bytes).ok());
  }
  EXPECT_EQ(to.feed(std::span(&first, 1), 9), expected(to, kPrompt, 2)[1]);
}

TEST(FakeEngine, a_lost_block_changes_the_next_token) {
  for (size_t lost = 0; lost < 3; ++lost) {
    Driver from({7, 3, 11, 1}), to({40, 2, 33, 9});
    const TokenId first = from.feed(kPrompt, 0);
    for (size_t i = 0; i < 3; ++i) {
      std::vector<std::byte> bytes(static_cast<size_t>(from.engine->info().kv.block_bytes));
      ASSERT_TRUE(from.engine->export_block(from.blocks[i], bytes).ok());
      if (i == lost) continue;
      ASSERT_TRUE(to.engine->import_block(to.blocks[i], bytes).ok());
    }
    EXPECT_NE(to.feed(std::span(&first, 1), 9), expected(to, kPrompt, 2)[1]) << "block " << lost;
  }
}

TEST(FakeEngine, swapped_blocks_and_wrong_positions_change_the_next_token) {
  Driver d({7, 3, 11, 1});
  const TokenId first = d.feed(kPrompt, 0);
  std::swap(d.blocks[0], d.blocks[1]);
  EXPECT_NE(d.feed(std::span(&first, 1), 9), expected(d, kPrompt, 2)[1]);
  std::swap(d.blocks[0], d.blocks[1]);
  EXPECT_EQ(d.feed(std::span(&first, 1), 9), expected(d, kPrompt, 2)[1]);
  EXPECT_NE(d.feed(std::span(&first, 1), 10), expected(d, kPrompt, 2)[1]);
}

TEST(FakeEngine, a_row_begun_ahead_goes_on_from_the_draw_in_flight_and_no_plan_is_read_later) {
  Driver d({7, 3, 11, 1, 20, 21});
  d.config.steps_ahead = true;
  d.engine = make_fake_engine(d.config);
  std::vector<TokenId> drawn = {d.feed(kPrompt, 0)};
  const auto begin = [&](int32_t position, int32_t token_of_row) {
    std::vector<TokenId> tokens = {token_of_row < 0 ? drawn.back() : 0};
    std::vector<BlockIndex> blocks = d.blocks;
    Plan plan;
    plan.rows.push_back({.tokens = tokens,
                         .position = position,
                         .prompt_tokens = 9,
                         .blocks = blocks,
                         .sample = true,
                         .state = {.sampling = &d.sampling},
                         .token_of_row = token_of_row});
    ASSERT_TRUE(d.engine->begin(plan).ok());
    tokens[0] = blocks[0] = 63;
  };
  begin(9, -1);
  for (int32_t position = 10; position < 20; ++position) {
    begin(position, 0);
    drawn.push_back(d.engine->finish()->rows[0].tokens.at(0));
  }
  drawn.push_back(d.engine->finish()->rows[0].tokens.at(0));
  EXPECT_EQ(drawn, expected(d, kPrompt, 12));
}

TEST(FakeEngine, a_large_logit_bias_draws_its_token) {
  Driver d({0, 1, 2, 3});
  d.sampling.logit_bias = {{1, 100.0f}};
  EXPECT_EQ(d.feed(kPrompt, 0), 1);
}

TEST(FakeEngine, logprobs_have_the_asked_shape) {
  Driver d({0, 1, 2, 3});
  d.sampling.logprobs = 3;
  const std::vector<TokenId> targets = {9, 2, 6, 5, 3, 5, 8, 9, -1};
  Plan plan;
  plan.rows.push_back({.tokens = kPrompt,
                       .prompt_tokens = 9,
                       .blocks = d.blocks,
                       .sample = true,
                       .state = {.sampling = &d.sampling},
                       .targets = targets,
                       .target_alternatives = 2});
  const auto row = d.engine->step(plan).value().rows[0];
  ASSERT_EQ(row.logprobs[0].top.size(), 3u);
  EXPECT_EQ(row.logprobs[0].top[0].token, row.tokens[0]);
  EXPECT_GE(row.logprobs[0].top[0].logprob, row.logprobs[0].top[1].logprob);
  EXPECT_EQ(row.target_logprobs.size(), 8u);
  EXPECT_EQ(row.target_logprobs[0].top.size(), 2u);
}

TEST(FakeEngine, a_step_costs_what_the_config_says) {
  FakeEngineConfig config;
  config.step_base = Duration::ms(2);
  config.step_per_token = Duration::us(10);
  Duration spent{0};
  config.wait = [&](Duration d) { spent = spent + d; };
  auto engine = make_fake_engine(config);
  const std::vector<BlockIndex> blocks = {0};
  Plan plan;
  plan.rows.push_back({.tokens = kPrompt, .prompt_tokens = 9, .blocks = blocks});
  ASSERT_TRUE(engine->step(plan).ok());
  EXPECT_EQ(spent, Duration::us(2090));
}

// A sequence that verifies drafts: what comes out of each step goes back in.
std::vector<TokenId> speculate(Driver& d, int32_t drafts, int32_t count, int32_t& steps) {
  std::vector<TokenId> out, row = kPrompt, guesses;
  int32_t position = 0;
  for (steps = 0; static_cast<int32_t>(out.size()) < count; ++steps) {
    row.insert(row.end(), guesses.begin(), guesses.end());
    Plan plan;
    plan.rows.push_back({.tokens = row,
                         .position = position,
                         .prompt_tokens = 9,
                         .blocks = d.blocks,
                         .sample = true,
                         .state = {.sampling = &d.sampling},
                         .drafts = static_cast<int32_t>(guesses.size()),
                         .draft_next = drafts});
    auto result = d.engine->step(plan).value().rows[0];
    EXPECT_LE(result.tokens.size(), guesses.size() + 1);
    EXPECT_LE(result.drafts.size(), static_cast<size_t>(drafts));
    position = static_cast<int32_t>(kPrompt.size() + out.size() + result.tokens.size()) - 1;
    out.insert(out.end(), result.tokens.begin(), result.tokens.end());
    row = {out.back()};
    guesses = std::move(result.drafts);
  }
  out.resize(static_cast<size_t>(count));
  return out;
}

TEST(FakeEngine, guesses_change_the_steps_and_not_the_tokens) {
  int32_t before = 1000;
  for (const double acceptance : {0.0, 0.5, 1.0}) {
    Driver d({7, 3, 11, 1, 20, 21, 30, 31, 32, 33, 34, 35, 36, 37});
    d.config.drafts_max = 3;
    d.config.draft_acceptance = acceptance;
    d.engine = make_fake_engine(d.config);
    int32_t steps = 0;
    EXPECT_EQ(speculate(d, 3, 40, steps), expected(d, kPrompt, 40)) << acceptance;
    EXPECT_LT(steps, before);
    before = steps;
  }
  EXPECT_EQ(before, 11) << "four tokens a step after the first";
}

}  // namespace
}  // namespace fathom
