// Does a real model draw the same tokens when a step is begun before the one ahead of it was waited
// for? Streams with and without are compared bit for bit, log-probabilities included.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "engine/tp_engine.h"
#include "small_engine.h"

namespace fathom {
namespace {

TpEngineConfig ahead_config(const std::string& model) {
  TpEngineConfig c = config();
  c.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/" + model;
  c.kv_blocks = 96;
  c.steps_ahead = true;
  return c;
}

// Some sequences that decode together; the drawn tokens stay with the engine until asked for.
struct Streams {
  struct One {
    Prompt prompt;
    int32_t position = 0;
    std::vector<TokenId> drawn;
    std::vector<TokenLogprob> logprobs;
  };
  explicit Streams(int32_t count) : all(static_cast<size_t>(count)) {
    for (size_t i = 0; i < all.size(); ++i) {
      const auto n = static_cast<BlockIndex>(i);
      all[i].prompt = prompt(7 + 9 * n, n * 16);
      for (TokenId& token : all[i].prompt.tokens) token %= 400;  // the smallest vocabulary
      for (BlockIndex b = static_cast<BlockIndex>(all[i].prompt.blocks.size()); b < 16; ++b)
        all[i].prompt.blocks.push_back(n * 16 + b);
      all[i].prompt.sampling = {
          .temperature = i % 2 == 0 ? 0.0f : 1.0f, .seed = 70 + i, .logprobs = i % 3 == 2 ? 3 : -1};
      all[i].prompt.sampling.min_tokens = 3;
      all[i].prompt.sampling.stop_tokens = {5, 9};
    }
  }
  StepRow row(const One& s, int32_t steps_unseen) const {
    StepRow r = s.prompt.row();
    if (s.position == 0) return r;
    r.tokens = steps_unseen > 0 ? std::span(&unseen, 1) : std::span(s.drawn).last(1);
    r.position = s.position + steps_unseen;
    r.state.emitted = static_cast<int32_t>(s.drawn.size()) + steps_unseen;
    return r;
  }
  Plan plan(int32_t steps_unseen) const {
    Plan p;
    // The order changes from step to step, so that a row is not fed by the row in its own place.
    for (size_t i = 0; i < all.size(); ++i) {
      const size_t at = (i + turn(steps_unseen)) % all.size();
      p.rows.push_back(row(all[at], steps_unseen));
      if (steps_unseen > 0)
        p.rows.back().token_of_row =
            static_cast<int32_t>((i + turn(steps_unseen) + all.size() - turn(0)) % all.size());
    }
    return p;
  }
  size_t turn(int32_t steps_unseen) const {
    return (steps + static_cast<size_t>(steps_unseen)) % all.size();
  }
  void take(const StepResult& result) {
    for (size_t i = 0; i < all.size(); ++i) {
      const StepRowResult& r = result.rows[i];
      One& s = all[(i + turn(0)) % all.size()];
      ASSERT_TRUE(r.status.ok()) << r.status.error().text();
      s.position += s.position == 0 ? static_cast<int32_t>(s.prompt.tokens.size()) : 1;
      s.drawn.insert(s.drawn.end(), r.tokens.begin(), r.tokens.end());
      s.logprobs.insert(s.logprobs.end(), r.logprobs.begin(), r.logprobs.end());
    }
    ++steps;
  }

  std::vector<One> all;
  size_t steps = 0;
  TokenId unseen = 0;  // holds a place
};

class TpAhead : public testing::TestWithParam<std::string> {};

TEST_P(TpAhead, steps_ahead_change_no_token) {
  constexpr int32_t kSteps = 40;
  const auto engine = make(ahead_config(GetParam()));
  ASSERT_TRUE(engine->info().steps_ahead);
  Streams plain(5), fed(5);
  for (int32_t i = 0; i < kSteps; ++i) plain.take(*engine->step(plain.plan(0)));
  fed.take(*engine->step(fed.plan(0)));
  ASSERT_TRUE(engine->begin(fed.plan(0)).ok());
  for (int32_t i = 2; i < kSteps; ++i) {
    ASSERT_TRUE(engine->begin(fed.plan(1)).ok());
    fed.take(*engine->finish());
  }
  fed.take(*engine->finish());
  for (size_t i = 0; i < plain.all.size(); ++i) {
    EXPECT_EQ(fed.all[i].drawn.size(), static_cast<size_t>(kSteps));
    EXPECT_EQ(fed.all[i].drawn, plain.all[i].drawn) << "stream " << i;
    EXPECT_EQ(fed.all[i].logprobs, plain.all[i].logprobs) << "stream " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(models, TpAhead,
                         testing::Values("v3-tiny-bf16", "v2-lite-like", "llama-tiny"),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(TpAheadRows, a_row_that_goes_on_from_one_that_failed_fails_too_and_alone) {
  const auto engine = make(ahead_config("v3-tiny-bf16"));
  Streams s(2);
  s.take(*engine->step(s.plan(0)));
  Plan first = s.plan(0);
  TokenId foreign = 1 << 20;
  first.rows[0].tokens = std::span(&foreign, 1);
  Plan second = s.plan(1);
  ASSERT_TRUE(engine->begin(first).ok());
  ASSERT_TRUE(engine->begin(second).ok());
  const auto one = engine->finish(), two = engine->finish();
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->rows[0].status.error().code, Code::invalid_argument);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(two->rows[i].status.ok(), second.rows[i].token_of_row != 0);
}

TEST(TpAheadRows, a_row_whose_draw_is_no_number_feeds_the_next_step_nothing_that_breaks_it) {
  const auto engine = make(ahead_config("v3-tiny-bf16"));
  Streams s(2);
  s.take(*engine->step(s.plan(0)));
  const std::vector<std::byte> garbage(static_cast<size_t>(engine->info().kv.block_bytes),
                                       std::byte{0xff});
  ASSERT_TRUE(engine->import_block(s.all[0].prompt.blocks[0], garbage).ok());
  const Plan first = s.plan(0), second = s.plan(1);
  ASSERT_TRUE(engine->begin(first).ok());
  ASSERT_TRUE(engine->begin(second).ok());
  const auto one = engine->finish(), two = engine->finish();
  ASSERT_TRUE(one.ok() && two.ok());
  int failed = 0;
  for (const auto& row : one->rows) failed += !row.status.ok();
  EXPECT_EQ(failed, 1);
  failed = 0;
  for (const auto& row : two->rows) failed += !row.status.ok();
  EXPECT_EQ(failed, 1);
}

TEST(TpAheadRows, only_the_host_and_groups_of_one_rank_differ) {
  EXPECT_FALSE(make(config())->info().steps_ahead) << "a host computes in its own time";
  TpEngineConfig two = ahead_config("v3-tiny-bf16");
  two.tensor_parallel = 2;
  const auto refused = make_tp_engine(two);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::unimplemented);
  EXPECT_EQ(refused.error().field, "steps_ahead");
}

}  // namespace
}  // namespace fathom
