// Does a real model draw the same tokens when a step is begun before the one ahead of it was waited
// for? Streams with and without are compared bit for bit, log-probabilities included.
#include <gtest/gtest.h>

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "engine/expert_group.h"
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

// A group in one of its layouts.
struct Layout {
  std::string model;
  int32_t ranks = 1;
  bool own_pools = false;
  bool processes = false;  // a rank each
};

TpEngineConfig config_of(const Layout& layout) {
  TpEngineConfig c = ahead_config(layout.model);
  c.tensor_parallel = layout.ranks;
  c.device.own_pools = layout.own_pools;
  return c;
}

constexpr int32_t kSteps = 40;

Streams one_after_the_other(Engine& engine, int32_t count) {
  Streams streams(count);
  for (int32_t i = 0; i < kSteps; ++i) streams.take(*engine.step(streams.plan(0)));
  return streams;
}

// The prompts are a step of their own, and what they draw must be seen.
Streams one_ahead_of_the_other(Engine& engine, int32_t count) {
  Streams streams(count);
  streams.take(*engine.step(streams.plan(0)));
  CHECK(engine.begin(streams.plan(0)).ok());
  for (int32_t i = 2; i < kSteps; ++i) {
    CHECK(engine.begin(streams.plan(1)).ok());
    streams.take(*engine.finish());
  }
  streams.take(*engine.finish());
  return streams;
}

void expect_same(const Streams& got, const Streams& want) {
  for (size_t i = 0; i < want.all.size(); ++i) {
    EXPECT_EQ(got.all[i].drawn.size(), static_cast<size_t>(kSteps));
    EXPECT_EQ(got.all[i].drawn, want.all[i].drawn) << "stream " << i;
    EXPECT_EQ(got.all[i].logprobs, want.all[i].logprobs) << "stream " << i;
  }
}

class TpAhead : public testing::TestWithParam<Layout> {};

TEST_P(TpAhead, steps_ahead_change_no_token) {
  std::optional<TwoProcesses> two;
  std::unique_ptr<Engine> threads;
  if (GetParam().processes) {
    two.emplace(config_of(GetParam()));
    ASSERT_TRUE(two->leader.ok()) << two->leader.error().text();
  } else {
    threads = make(config_of(GetParam()));
  }
  Engine& engine = two ? **two->leader : *threads;
  ASSERT_TRUE(engine.info().steps_ahead);
  const Streams plain = one_after_the_other(engine, 5);
  expect_same(one_ahead_of_the_other(engine, 5), plain);
}

INSTANTIATE_TEST_SUITE_P(layouts, TpAhead,
                         testing::Values(Layout{"v3-tiny-bf16"}, Layout{"v2-lite-like"},
                                         Layout{"llama-tiny"}, Layout{"v3-tiny-bf16", 2},
                                         Layout{"v3-tiny-bf16", 4, true},
                                         Layout{"llama-tiny", 2, true},
                                         Layout{"v3-tiny-bf16", 2, false, true},
                                         Layout{"llama-tiny", 2, false, true}),
                         [](const auto& at) {
                           std::string name = at.param.model + "_" +
                                              std::to_string(at.param.ranks) + "_ranks" +
                                              (at.param.own_pools ? "_own_pools" : "") +
                                              (at.param.processes ? "_in_processes" : "");
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Ranks of other sequences begin steps when theirs are due: ahead, one at a time, or not at all.
TEST(ExpertsAhead, steps_ahead_change_no_token_whatever_the_other_rank_does) {
  const TpEngineConfig c = ahead_config("v3-tiny-bf16");
  const auto one = make(c);
  const Streams five = one_after_the_other(*one, 5), three = one_after_the_other(*one, 3);
  auto made = make_expert_group(c, 2);
  ASSERT_TRUE(made.ok()) << made.error().text();
  const auto& group = *made;
  ASSERT_TRUE(group[0]->info().steps_ahead);
  expect_same(one_ahead_of_the_other(*group[1], 5), five);
  for (const auto& beside : {one_ahead_of_the_other, one_after_the_other}) {
    std::thread other([&] { expect_same(beside(*group[1], 3), three); });
    expect_same(one_ahead_of_the_other(*group[0], 5), five);
    other.join();
  }
}

// A rank without memory for its step is the failure a healthy machine can have.
TEST(TpAheadRows, a_rank_that_fails_ends_both_steps_in_flight) {
  TpEngineConfig c = ahead_config("v3-tiny-bf16");
  c.tensor_parallel = 2;
  bool fail = false;
  c.logits_tap = [&](int32_t, int32_t, std::span<const float>) {
    if (fail) throw std::bad_alloc();
  };
  const auto engine = make(c);
  Streams s(2);
  s.take(*engine->step(s.plan(0)));
  ASSERT_TRUE(engine->begin(s.plan(0)).ok());
  fail = true;
  const Status begun = engine->begin(s.plan(1));
  ASSERT_FALSE(begun.ok());
  EXPECT_EQ(begun.error().code, Code::resource_exhausted);
  EXPECT_FALSE(engine->finish().ok());
  EXPECT_FALSE(engine->step(s.plan(0)).ok());
}

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

TEST(TpAheadRows, a_host_computes_in_its_own_time) {
  EXPECT_FALSE(make(config())->info().steps_ahead);
  EXPECT_FALSE(make(config(2))->info().steps_ahead);
}

}  // namespace
}  // namespace fathom
