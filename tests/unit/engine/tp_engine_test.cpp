// Does the engine keep its promises when a row is wrong, a block holds garbage or a setting can not
// be?
#include "engine/tp_engine.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/clock.h"
#include "engine/fake_engine.h"
#include "engine/measure.h"
#include "small_engine.h"

namespace fathom {
namespace {

TEST(TpEngine, info_says_what_a_welcome_needs) {
  const auto engine = make(config(2));
  const EngineInfo& info = engine->info();
  EXPECT_EQ(info.kv, (KvLayout{.kind = "mla",
                               .dtype = "f32",
                               .layers = 4,
                               .width = 80,
                               .block_tokens = 8,
                               .block_bytes = 4 * 8 * 80 * 4}));
  EXPECT_EQ(info.blocks, 32);
  EXPECT_EQ(info.vocab, 512);
  EXPECT_EQ(info.context_max, 163840);
  EXPECT_EQ(info.tensor_parallel, 2);
  EXPECT_EQ(info.model_digest.size(), 32u);
  TpEngineConfig half = config();
  half.compute = Compute::bfloat16;
  half.kv_blocks = 0;
  half.kv_bytes = 100 * 4 * 8 * 80 * 2 + 7;
  EXPECT_EQ(make(half)->info().kv.dtype, "bf16");
  EXPECT_EQ(make(half)->info().blocks, 100);
  half.kv_dtype = DType::i8;
  EXPECT_EQ(make(half)->info().kv.dtype, "int8");
  EXPECT_EQ(make(half)->info().kv.block_bytes, 4 * 8 * (64 + 16 * 2 + 4));
}

TEST(TpEngine, keys_and_values_of_8_bits_are_refused_by_name) {
  TpEngineConfig grouped = config();
  grouped.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/llama-tiny";
  grouped.kv_dtype = DType::i8;
  EXPECT_EQ(make_tp_engine(grouped).error().field, "kv_dtype");
}

TEST(TpEngine, a_wrong_row_fails_alone) {
  TpEngineConfig c = config();
  c.context_max = 20;
  const auto engine = make(c);
  const Prompt good = prompt(9, 0);
  Prompt foreign = prompt(9, 2), negative = prompt(9, 4);
  foreign.tokens[3] = 512;
  negative.tokens[8] = -1;
  const Prompt too_long = prompt(21, 6);
  const Plan alone{{good.row()}};
  const TokenId want = engine->step(alone)->rows[0].tokens.at(0);
  const Plan mixed{{foreign.row(), good.row(), negative.row(), too_long.row()}};
  const auto got = engine->step(mixed);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->rows[0].status.error().code, Code::invalid_argument);
  EXPECT_TRUE(got->rows[1].status.ok());
  EXPECT_EQ(got->rows[1].tokens.at(0), want);
  EXPECT_EQ(got->rows[2].status.error().code, Code::invalid_argument);
  EXPECT_EQ(got->rows[3].status.error().code, Code::out_of_range);
}

TEST(TpEngine, an_empty_plan_is_an_empty_step) {
  const auto engine = make(config(2));
  EXPECT_TRUE(engine->step({})->rows.empty());
}

TEST(TpEngine, what_an_earlier_owner_left_in_a_block_is_never_seen) {
  for (const int32_t length : {9, 70}) {  // absorbed, expanded
    const auto engine = make(config(2));
    const Prompt p = prompt(length, 3);
    const Plan plan{{p.row()}};
    const TokenId want = engine->step(plan)->rows[0].tokens.at(0);
    const std::vector<std::byte> garbage(static_cast<size_t>(engine->info().kv.block_bytes),
                                         std::byte{0xff});  // NaN
    for (BlockIndex b = 0; b < engine->info().blocks; ++b)
      ASSERT_TRUE(engine->import_block(b, garbage).ok());
    const auto got = engine->step(plan);
    ASSERT_TRUE(got->rows[0].status.ok()) << got->rows[0].status.error().text();
    EXPECT_EQ(got->rows[0].tokens.at(0), want);
  }
}

TEST(TpEngine, logits_that_are_no_numbers_fail_their_row_only) {
  const auto engine = make(config());
  const Prompt sick = prompt(9, 0), well = prompt(12, 4);
  const Plan first{{sick.row(), well.row()}};
  const auto before = engine->step(first);
  const std::vector<std::byte> garbage(static_cast<size_t>(engine->info().kv.block_bytes),
                                       std::byte{0xff});
  ASSERT_TRUE(engine->import_block(0, garbage).ok());
  std::vector<Prompt> next = {sick, well};
  Plan plan;
  for (size_t i = 0; i < 2; ++i) {
    const auto position = static_cast<int32_t>(next[i].tokens.size());
    next[i].tokens = {before->rows[i].tokens.at(0)};
    next[i].blocks.push_back(10 + static_cast<BlockIndex>(i));
    StepRow row = next[i].row();
    row.position = position;
    row.prompt_tokens = position;
    plan.rows.push_back(row);
  }
  const auto got = engine->step(plan);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->rows[0].status.error().code, Code::internal);
  EXPECT_TRUE(got->rows[1].status.ok());
}

TEST(TpEngine, prompt_scores_come_one_per_target_and_agree_with_logprobs) {
  const auto engine = make(config(2));
  Prompt p = prompt(40, 0);
  p.sampling.logprobs = 4;
  StepRow row = p.row();
  std::vector<TokenId> targets(p.tokens.begin() + 1, p.tokens.end());
  targets.push_back(-1);
  row.targets = targets;
  row.target_alternatives = 2;
  const Plan plan{{row}};
  const auto got = engine->step(plan)->rows[0];
  ASSERT_EQ(got.target_logprobs.size(), 39u);
  for (const auto& score : got.target_logprobs) {
    EXPECT_LE(score.logprob, 0);
    ASSERT_EQ(score.top.size(), 2u);
    EXPECT_GE(score.top[0].logprob, score.top[1].logprob);
    EXPECT_GE(score.top[0].logprob, score.logprob);
  }
  ASSERT_EQ(got.logprobs.at(0).top.size(), 4u);
  EXPECT_EQ(got.logprobs.at(0).top[0].token, got.tokens.at(0));
}

TEST(TpEngine, seeds_and_positions_decide_sampled_tokens_wherever_the_row_stands) {
  const auto engine = make(config());
  std::vector<Prompt> prompts;
  for (int i = 0; i < 8; ++i) {
    prompts.push_back(prompt(12, 2 * i));
    prompts.back().sampling = {.temperature = 1.0f, .seed = static_cast<uint64_t>(i % 4)};
  }
  Plan together;
  for (const auto& p : prompts) together.rows.push_back(p.row());
  const auto all = engine->step(together);
  for (size_t i = 0; i < 8; ++i) {
    const Plan alone{{prompts[i].row()}};
    EXPECT_EQ(engine->step(alone)->rows[0].tokens.at(0), all->rows[i].tokens.at(0));
    EXPECT_EQ(all->rows[i].tokens.at(0), all->rows[i % 4].tokens.at(0));
  }
}

TEST(TpEngine, progress_reaches_the_size_of_what_was_read) {
  uint64_t last = 0, whole = 0;
  const auto engine = make_tp_engine(config(2), [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
    whole = total;
  });
  ASSERT_TRUE(engine.ok());
  EXPECT_GT(whole, 4'000'000u);
  EXPECT_EQ(last, whole);
}

TEST(TpEngine, settings_that_can_not_be_are_named) {
  const auto field = [](auto change) {
    TpEngineConfig c = config();
    change(c);
    const auto made = make_tp_engine(c);
    return made.ok() ? "made" : made.error().field;
  };
  EXPECT_EQ(field([](auto& c) { c.tensor_parallel = 3; }), "tensor_parallel");
  EXPECT_EQ(field([](auto& c) { c.tensor_parallel = 0; }), "tensor_parallel");
  EXPECT_EQ(field([](auto& c) { c.threads_per_rank = 0; }), "threads_per_rank");
  EXPECT_EQ(field([](auto& c) { c.block_tokens = -1; }), "block_tokens");
  EXPECT_EQ(field([](auto& c) { c.kernels = "abacus"; }), "kernels");
  EXPECT_EQ(field([](auto& c) { c.kv_blocks = 0, c.kv_bytes = 5; }), "kv_bytes");
  EXPECT_EQ(field([](auto& c) { c.group.processes = 2; }), "group.processes");
  EXPECT_EQ(field([](auto& c) {
              c.group = {.processes = 2, .leader = "nowhere"}, c.tensor_parallel = 2;
            }),
            "group.leader");
  EXPECT_EQ(field([](auto& c) { c.model_dir = "/nowhere"; }), "/nowhere/config.json");
}

// Every reading of the clock is a millisecond later.
struct TickingClock final : Clock {
  mutable int64_t ms = 0;
  Instant now() const override { return {++ms * 1'000'000}; }
  int64_t unix_seconds() const override { return 0; }
};

TEST(Measure, figures_follow_from_the_clock) {
  const auto engine = make(config());
  TickingClock clock;
  const auto got = measure_engine(
      *engine,
      {.prompt_tokens = {10, 9999}, .batches = {1, 3, 999}, .decode_context = 8, .decode_steps = 4},
      clock);
  ASSERT_TRUE(got.ok()) << got.error().text();
  ASSERT_EQ(got->prefill.size(), 1u);  // 9999 tokens do not fit into the pool
  EXPECT_DOUBLE_EQ(got->prefill[0].tokens_per_second, 10 / 1e-3);
  ASSERT_EQ(got->decode.size(), 2u);
  EXPECT_DOUBLE_EQ(got->decode[1].step_ms, 0.25);
  EXPECT_DOUBLE_EQ(got->decode[1].tokens_per_second, 12000);
}

TEST(Measure, decoding_is_measured_as_it_runs_where_steps_run_ahead) {
  const auto engine = make_fake_engine({.steps_ahead = true});
  TickingClock clock;
  const auto got = measure_engine(
      *engine, {.prompt_tokens = {}, .batches = {1, 2}, .decode_context = 8, .decode_steps = 4},
      clock);
  ASSERT_TRUE(got.ok()) << got.error().text();
  ASSERT_EQ(got->decode.size(), 2u);
  EXPECT_DOUBLE_EQ(got->decode[0].step_ms, 0.25);
  EXPECT_DOUBLE_EQ(got->decode[1].tokens_per_second, 8000);
}

TEST(Measure, decoding_with_guesses_stands_beside_decoding_without) {
  FakeEngineConfig fake{.drafts_max = 2, .draft_acceptance = 1};
  const auto engine = make_fake_engine(fake);
  TickingClock clock;
  MeasurePlan plan{.prompt_tokens = {}, .batches = {2}, .decode_steps = 4, .drafts = 2};
  const auto got = measure_engine(*engine, plan, clock);
  ASSERT_TRUE(got.ok()) << got.error().text();
  ASSERT_EQ(got->decode.size(), 2u);
  EXPECT_EQ(got->decode[0].drafts, 0);
  EXPECT_DOUBLE_EQ(got->decode[0].tokens_per_second, 8000);
  EXPECT_EQ(got->decode[1].drafts, 2);
  EXPECT_DOUBLE_EQ(got->decode[1].acceptance, 1);
  EXPECT_DOUBLE_EQ(got->decode[1].tokens_per_second, 24000);
  plan.drafts = 3;
  EXPECT_EQ(measure_engine(*engine, plan, clock).error().field, "drafts");
}

}  // namespace
}  // namespace fathom
