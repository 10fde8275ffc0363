// What do engines that share experts refuse, survive and promise? Bits are in the golden tests;
// here is how such a group begins, ends, and that a rank's death is everybody's.
#include "engine/expert_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "small_engine.h"

namespace fathom {
namespace {

std::vector<std::unique_ptr<Engine>> make_group(int32_t ranks, TpEngineConfig c = config()) {
  auto made = make_expert_group(c, ranks);
  CHECK(made.ok(), made.ok() ? "" : made.error().text());
  return std::move(made).value();
}

std::string refused(const TpEngineConfig& c, int32_t ranks) {
  const auto made = make_expert_group(c, ranks);
  return made.ok() ? "accepted" : made.error().field;
}

TEST(ExpertGroup, every_engine_has_sequences_and_blocks_of_its_own) {
  const auto group = make_group(2);
  ASSERT_EQ(group.size(), 2u);
  EXPECT_EQ(group[0]->info().blocks, 32);
  EXPECT_EQ(group[1]->info().blocks, 32);
  EXPECT_EQ(group[0]->info().model_digest, make(config())->info().model_digest);
  // The same blocks hold another sequence on each.
  const Prompt a = prompt(30, 0);
  Prompt b = prompt(21, 0);
  b.tokens[0] = 400;
  const auto alone = make(config());
  const auto first_block = [](const Engine& engine) {
    std::vector<std::byte> bytes(static_cast<size_t>(engine.info().kv.block_bytes));
    CHECK(engine.export_block(0, bytes).ok());
    return bytes;
  };
  const auto want_a = alone->step({{a.row()}})->rows[0].tokens;
  const auto block_a = first_block(*alone);
  const auto want_b = alone->step({{b.row()}})->rows[0].tokens;
  const auto block_b = first_block(*alone);
  EXPECT_EQ(group[0]->step({{a.row()}})->rows[0].tokens, want_a);
  EXPECT_EQ(group[1]->step({{b.row()}})->rows[0].tokens, want_b);
  EXPECT_EQ(first_block(*group[0]), block_a);
  EXPECT_EQ(first_block(*group[1]), block_b);
}

TEST(ExpertGroup, an_engine_that_goes_leaves_its_experts_to_the_others) {
  auto group = make_group(2);
  const Prompt p = prompt(30, 0);
  const auto want = group[0]->step({{p.row()}})->rows[0].tokens;
  group[0].reset();
  const auto got = group[1]->step({{p.row()}});
  ASSERT_TRUE(got.ok()) << got.error().text();
  EXPECT_EQ(got->rows[0].tokens, want);
}

TEST(ExpertGroup, a_plan_no_row_of_which_can_run_costs_the_others_nothing) {
  const auto group = make_group(2);
  Prompt p = prompt(30, 0);
  p.tokens[3] = 100'000;
  const auto result = group[1]->step({{p.row()}});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->rows[0].status.error().field, "tokens");
  EXPECT_TRUE(group[0]->step({{prompt(30, 0).row()}})->rows[0].status.ok());
  EXPECT_TRUE(group[0]->step(Plan{}).ok());
}

// A rank without memory for its step is the failure a healthy machine can have.
TEST(ExpertGroup, a_rank_that_fails_in_a_round_breaks_every_engine) {
  TpEngineConfig c = config();
  std::atomic<bool> fail = false;
  c.experts.logits_tap = [&](int32_t rank, int32_t, int32_t, std::span<const float>) {
    if (fail && rank == 1) throw std::bad_alloc();
  };
  const auto group = make_group(2, c);
  const Prompt p = prompt(30, 0);
  const Plan plan{{p.row()}};
  ASSERT_TRUE(group[0]->step(plan).ok());
  ASSERT_TRUE(group[1]->step(plan).ok());
  fail = true;
  const auto failed = group[1]->step(plan);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Code::resource_exhausted);
  EXPECT_FALSE(group[0]->step(plan).ok());
  EXPECT_FALSE(group[1]->step(plan).ok());
}

TEST(ExpertGroup, what_can_not_be_divided_or_combined_is_refused_by_name) {
  EXPECT_EQ(refused(config(), 3), "expert_parallel");
  EXPECT_EQ(refused(config(), 0), "expert_parallel");
  EXPECT_EQ(refused(config(2), 2), "tensor_parallel");
  TpEngineConfig processes = config();
  processes.group.processes = 2;
  EXPECT_EQ(refused(processes, 2), "group.processes");
  TpEngineConfig dense = config();
  dense.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/llama-tiny";
  EXPECT_EQ(refused(dense, 2), "expert_parallel");
}

}  // namespace
}  // namespace fathom
