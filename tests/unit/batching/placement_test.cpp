// Which workers run a request? The cheapest that can hold it, by what they are promised already.
#include <gmock/gmock.h>

#include <map>

#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

TEST(placement, a_burst_spreads_over_equal_workers) {
  Stage stage;
  for (uint32_t id = 1; id <= 4; ++id) stage.up(id, Role::both);
  for (uint64_t i = 1; i <= 32; ++i) stage.submit(submit_of(i, 16, 16));
  for (uint32_t id = 1; id <= 4; ++id) EXPECT_EQ(stage.take<Prefill>({id}).size(), 8u);
}

TEST(placement, a_worker_numbered_zero_is_like_the_others) {
  Stage stage;
  for (uint32_t id = 0; id <= 1; ++id) stage.up(id, Role::both);
  for (uint64_t i = 1; i <= 8; ++i) stage.submit(submit_of(i, 16, 16));
  for (uint32_t id = 0; id <= 1; ++id) EXPECT_EQ(stage.take<Prefill>({id}).size(), 4u);
}

TEST(placement, all_in_one_tick_spread_too) {
  Stage stage;
  for (uint32_t id = 1; id <= 4; ++id) stage.up(id, Role::both);
  for (uint64_t i = 1; i <= 32; ++i) stage.batcher.submit({1}, submit_of(i, 16, 16), stage.now);
  stage.look();
  for (uint32_t id = 1; id <= 4; ++id) EXPECT_EQ(stage.take<Prefill>({id}).size(), 8u);
}

TEST(placement, prompts_in_flight_to_one_worker_are_limited) {
  Stage stage({.step_token_budget = 16});
  const WorkerId w = stage.up(1, Role::both);
  for (uint64_t i = 1; i <= 4; ++i) stage.submit(submit_of(i, 60, 4));
  const auto first = stage.take<Prefill>(w);
  EXPECT_EQ(first.size(), 2u) << "8 budgets of 16 are 128 tokens";
  stage.rows(w, {{.seq = first[0].seq, .computed = 59}});
  EXPECT_EQ(stage.take<Prefill>(w).size(), 1u) << "computed tokens make room for more";
}

TEST(placement, a_prompt_longer_than_the_limit_still_runs_alone) {
  Stage stage({.step_token_budget = 4});
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 300, 4));
  EXPECT_EQ(stage.take<Prefill>(w).size(), 1u);
}

TEST(placement, never_more_rows_than_a_worker_holds) {
  Stage stage;
  Welcome few = welcome_of(1, Role::both);
  few.rows_max = 3;
  const WorkerId w = stage.up(1, few);
  for (uint64_t i = 1; i <= 5; ++i) stage.submit(submit_of(i, 4, 4));
  EXPECT_EQ(stage.take<Prefill>(w).size(), 3u);
}

TEST(placement, rows_leave_room_for_prompts_in_the_step_budget) {
  Stage stage({.step_token_budget = 8});
  Welcome many = welcome_of(1, Role::both);
  many.rows_max = 100;
  const WorkerId w = stage.up(1, many);
  for (uint64_t i = 1; i <= 20; ++i) stage.submit(submit_of(i, 2, 4));
  EXPECT_EQ(stage.take<Prefill>(w).size(), 6u);
}

TEST(placement, moves_to_the_home_with_the_most_free_blocks) {
  Stage stage;
  const WorkerId p = stage.up(1, Role::prefill);
  const WorkerId crowded = stage.up(2, Role::decode);
  stage.submit(submit_of(1, 100, 100));
  EXPECT_EQ(stage.take<Receive>(crowded).size(), 1u);
  const WorkerId fresh = stage.up(3, Role::decode);
  stage.submit(submit_of(2, 100, 100));
  EXPECT_EQ(stage.take<Receive>(fresh).size(), 1u);
  EXPECT_EQ(stage.take<Prefill>(p).size(), 2u);
}

TEST(placement, a_worker_of_both_roles_needs_no_move) {
  Stage stage;
  stage.up(1, Role::prefill);
  stage.up(2, Role::decode);
  const WorkerId both = stage.up(3, Role::both);
  stage.submit(submit_of(1, 100, 100));
  EXPECT_FALSE(stage.only<Prefill>(both).handoff);
}

TEST(placement, a_single_token_needs_no_home) {
  Stage stage;
  const WorkerId p = stage.up(1, Role::prefill);
  stage.up(2, Role::decode);
  stage.submit(submit_of(1, 100, 1));
  const Prefill prefill = stage.only<Prefill>(p);
  EXPECT_FALSE(prefill.handoff);
  EXPECT_EQ(prefill.lease, 1);
}

TEST(placement, nothing_is_asked_of_one_half_without_the_other) {
  Stage stage;
  const WorkerId p = stage.up(1, Role::prefill);
  Welcome tight = welcome_of(2, Role::decode);
  tight.blocks = 12;
  const WorkerId d = stage.up(2, tight);
  stage.submit(submit_of(1, 100, 60));
  EXPECT_EQ(stage.take<Prefill>(p).size(), 1u);
  EXPECT_EQ(stage.take<Receive>(d).size(), 1u);
  stage.submit(submit_of(2, 100, 60));
  EXPECT_TRUE(stage.take<Prefill>(p).empty()) << "no home, so no prefill";
  EXPECT_EQ(stage.batcher.stats().waiting, 1);
}

TEST(placement, a_worker_that_differs_is_refused_by_the_name_of_the_field) {
  Stage stage;
  stage.up(1, Role::both);
  const auto refused = [&](Welcome welcome) {
    const Status status = stage.batcher.worker_up({9}, welcome);
    return status.ok() ? std::string("taken") : status.error().field;
  };
  Welcome digest = welcome_of(9, Role::both);
  digest.model_digest = "other";
  EXPECT_EQ(refused(digest), "model_digest");
  Welcome kv = welcome_of(9, Role::both);
  kv.kv.dtype = "bf16";
  EXPECT_EQ(refused(kv), "kv.dtype");
  kv = welcome_of(9, Role::both);
  kv.kv.width += 1;
  EXPECT_EQ(refused(kv), "kv");
  Welcome vocab = welcome_of(9, Role::both);
  vocab.vocab = 1;
  EXPECT_EQ(refused(vocab), "vocab");
  Welcome blocks = welcome_of(9, Role::both);
  blocks.blocks = 0;
  EXPECT_EQ(refused(blocks), "blocks");
  Welcome protocol = welcome_of(9, Role::both);
  protocol.protocol = 99;
  EXPECT_EQ(refused(protocol), "protocol");
  EXPECT_EQ(refused(welcome_of(9, Role::both)), "taken");
}

TEST(placement, other_weights_are_welcome_once_nobody_needs_the_old_ones) {
  Stage stage;
  const WorkerId old = stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 20));
  stage.down(old);
  Welcome other = welcome_of(2, Role::both);
  other.model_digest = "d2";
  EXPECT_FALSE(stage.batcher.worker_up({2}, other).ok()) << "a request waits that began on the old";
  stage.cancel(1);
  EXPECT_TRUE(stage.batcher.worker_up({2}, other).ok());
  EXPECT_EQ(stage.batcher.cluster().model_digest, "d2");
}

TEST(placement, the_same_calls_give_the_same_edits) {
  const auto story = [] {
    Stage stage({.lease_tokens = 4, .epoch = 5});
    for (uint32_t id = 1; id <= 3; ++id) stage.up(id, Role::both);
    for (uint64_t i = 1; i <= 20; ++i) stage.submit(submit_of(i, static_cast<int32_t>(i) * 7, 9));
    std::vector<Prefill> all;
    for (uint32_t id = 1; id <= 3; ++id) {
      for (Prefill& prefill : stage.take<Prefill>({id})) all.push_back(std::move(prefill));
    }
    return all;
  };
  EXPECT_EQ(story(), story());
}

}  // namespace
}  // namespace fathom
