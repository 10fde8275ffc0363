// What happens to a request when something under it breaks? It goes on as prompt and emitted tokens
// elsewhere, no token is delivered twice, and what can not be repaired ends with a clear error.
#include <gmock/gmock.h>

#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

// Two prefill workers and two homes; the request runs on one of each.
struct PairStory {
  explicit PairStory(BatcherConfig config = {.lease_tokens = 8}) : stage(config) {
    for (uint32_t id : {1u, 2u}) stage.up(id, Role::prefill);
    for (uint32_t id : {3u, 4u}) stage.up(id, Role::decode);
    stage.submit(submit_of(7, 20, 100));
    find_placement();
  }
  // Where the Prefill and the Receive went, since last asked.
  void find_placement() {
    for (uint32_t id : {1u, 2u}) {
      for (const Prefill& edit : stage.take<Prefill>({id})) {
        prefill = edit;
        p = {id};
      }
    }
    for (uint32_t id : {3u, 4u}) {
      for (const Receive& edit : stage.take<Receive>({id})) {
        receive = edit;
        d = {id};
      }
    }
  }
  void first_token() { stage.rows(p, {row_of(prefill.seq, 0, {101})}); }
  void move() {
    first_token();
    stage.resident(d, prefill.seq);
  }

  Stage stage;
  WorkerId p, d;
  Prefill prefill;
  Receive receive;
};

TEST(recovery, dead_decode_worker_loses_no_token) {
  PairStory s;
  s.move();
  s.stage.rows(s.d, {row_of(s.prefill.seq, 1, {102})});
  s.stage.take_events();
  const SeqId old = s.prefill.seq;
  s.stage.down(s.d);
  s.find_placement();
  EXPECT_NE(s.prefill.seq, old) << "a new placement has a new id";
  ASSERT_EQ(s.prefill.tokens.size(), 22u);
  EXPECT_EQ(s.prefill.tokens[20], 101);
  EXPECT_EQ(s.prefill.tokens[21], 102);
  EXPECT_EQ(s.prefill.prompt_tokens, 20);
  s.stage.rows(s.p, {row_of(s.prefill.seq, 2, {103})});
  const auto events = s.stage.events<Tokens>();
  ASSERT_EQ(events.size(), 1u) << "only the new token is delivered";
  EXPECT_EQ(events[0].first, 2);
  EXPECT_EQ(s.stage.batcher.stats().recoveries, 1u);
}

TEST(recovery, prefill_worker_that_dies_between_first_token_and_residence_is_replaced) {
  PairStory s;
  s.first_token();
  const WorkerId home = s.d;
  const SeqId old = s.prefill.seq;
  s.stage.down(s.p);
  const auto drops = s.stage.take<Drop>(home);
  ASSERT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops[0].seq, old);
  s.find_placement();
  EXPECT_EQ(s.prefill.tokens.size(), 21u);
}

TEST(recovery, prefill_worker_that_dies_after_the_move_is_not_missed) {
  PairStory s;
  s.move();
  s.stage.down(s.p);
  EXPECT_EQ(s.stage.batcher.stats().recoveries, 0u);
  s.stage.take_events();
  s.stage.rows(s.d, {row_of(s.prefill.seq, 1, {102})});
  EXPECT_EQ(s.stage.events<Tokens>().size(), 1u);
}

TEST(recovery, failed_transfer_is_tried_with_other_workers) {
  PairStory s;
  s.first_token();
  const WorkerId p = s.p;
  const WorkerId d = s.d;
  s.stage.failed(s.d, s.prefill.seq, Code::data_loss);
  EXPECT_EQ(s.stage.take<Drop>(p).size(), 1u);
  EXPECT_EQ(s.stage.take<Drop>(d).size(), 0u) << "it dropped the sequence itself";
  s.find_placement();
  EXPECT_NE(s.p, p);
  EXPECT_NE(s.d, d);
  EXPECT_EQ(s.stage.batcher.stats().transfer_failures, 1u);
}

TEST(recovery, a_transfer_that_times_out_is_not_the_clients_deadline) {
  PairStory s;
  s.first_token();
  s.stage.take_events();
  s.stage.failed(s.d, s.prefill.seq, Code::deadline_exceeded);
  EXPECT_TRUE(s.stage.take_events().empty());
  EXPECT_EQ(s.stage.batcher.stats().transfer_failures, 1u);
  EXPECT_EQ(s.stage.batcher.stats().running, 1);
}

TEST(recovery, not_a_number_ends_the_request_with_the_workers_error) {
  PairStory s;
  s.move();
  s.stage.failed(s.d, s.prefill.seq, Code::internal);
  const Finished finished = s.stage.only_finished();
  EXPECT_EQ(finished.finish, Finish::failed);
  EXPECT_EQ(finished.error.code, Code::internal);
  EXPECT_TRUE(s.stage.batcher.idle());
}

TEST(recovery, too_many_losses_end_as_unavailable) {
  Stage stage({.recoveries_max = 2});
  stage.submit(submit_of(1, 20, 100));
  for (uint32_t id = 1; id <= 3; ++id) {
    stage.up(id, Role::both);
    EXPECT_EQ(stage.take<Prefill>({id}).size(), 1u);
    EXPECT_TRUE(stage.take_events().empty());
    stage.down({id});
  }
  const Finished finished = stage.only_finished();
  EXPECT_EQ(finished.error.code, Code::unavailable);
  EXPECT_GT(finished.retry_after, Duration{});
}

TEST(recovery, a_gap_or_a_repeat_or_too_many_tokens_cost_the_placement) {
  for (const Row& wrong :
       {row_of({}, 3, {104}), row_of({}, 1, {102}), row_of({}, 2, {1, 2, 3, 4, 5, 6, 7, 8, 9})}) {
    PairStory s;
    s.move();
    s.stage.rows(s.d, {row_of(s.prefill.seq, 1, {102})});
    s.stage.take_events();
    Row row = wrong;
    row.seq = s.prefill.seq;
    const WorkerId d = s.d;
    s.stage.rows(s.d, {row});
    EXPECT_TRUE(s.stage.take_events().empty());
    EXPECT_EQ(s.stage.take<Drop>(d).size(), 1u);
    s.find_placement();
    EXPECT_EQ(s.prefill.tokens.size(), 22u);
  }
}

TEST(recovery, tokens_of_the_home_before_residence_are_not_believed) {
  PairStory s;
  s.first_token();
  s.stage.take_events();
  s.stage.rows(s.d, {row_of(s.prefill.seq, 1, {102})});
  EXPECT_TRUE(s.stage.take_events().empty());
  EXPECT_EQ(s.stage.batcher.stats().recoveries, 1u);
}

TEST(recovery, a_second_token_of_a_handoff_is_not_believed) {
  PairStory s;
  s.first_token();
  s.stage.take_events();
  s.stage.rows(s.p, {row_of(s.prefill.seq, 1, {102})});
  EXPECT_TRUE(s.stage.take_events().empty());
  EXPECT_EQ(s.stage.batcher.stats().recoveries, 1u);
}

TEST(recovery, news_of_a_dropped_half_is_ignored) {
  PairStory s;
  s.move();
  s.stage.take_events();
  s.stage.rows(s.p, {row_of(s.prefill.seq, 1, {999}, Finish::stop)});
  s.stage.failed(s.p, s.prefill.seq, Code::internal);
  EXPECT_TRUE(s.stage.take_events().empty());
  EXPECT_EQ(s.stage.batcher.stats().running, 1);
}

TEST(recovery, a_worker_that_forgets_to_finish_at_max_tokens_is_dropped) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 2));
  const SeqId seq = stage.only<Prefill>(w).seq;
  stage.rows(w, {row_of(seq, 0, {1, 2})});
  const auto events = stage.events<Tokens>();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, Finish::length);
  EXPECT_EQ(stage.take<Drop>(w).size(), 1u);
  EXPECT_TRUE(stage.batcher.idle());
}

TEST(recovery, requests_wait_while_no_worker_is_there) {
  Stage stage;
  Submit submit = submit_of(1, 20, 5);
  submit.time_left = Duration::seconds(2);
  stage.submit(submit);
  EXPECT_FALSE(stage.batcher.cluster().ready);
  EXPECT_EQ(stage.batcher.stats().waiting, 1);
  stage.wait(Duration::seconds(1));
  EXPECT_TRUE(stage.take_events().empty());
  const WorkerId p = stage.up(1, Role::prefill);
  EXPECT_FALSE(stage.batcher.cluster().ready) << "nobody decodes";
  EXPECT_TRUE(stage.take<Prefill>(p).empty());
  stage.wait(Duration::seconds(1));
  EXPECT_EQ(stage.only_finished().error.code, Code::deadline_exceeded);
  stage.up(2, Role::decode);
  EXPECT_TRUE(stage.batcher.cluster().ready);
}

TEST(recovery, an_answer_that_had_begun_is_taken_over_even_by_a_full_router) {
  Stage stage({.queue_max = 1});
  stage.submit(submit_of(1, 20, 50));
  Submit begun = submit_of(2, 20, 50);
  begun.tokens.push_back(77);
  begun.sampling.prompt_logprobs = 0;
  stage.submit(begun);
  EXPECT_TRUE(stage.take_events().empty());
  const WorkerId w = stage.up(1, Role::both);
  const auto prefills = stage.take<Prefill>(w);
  ASSERT_EQ(prefills.size(), 2u);
  EXPECT_EQ(prefills[0].tokens.size(), 21u) << "it goes first";
  EXPECT_EQ(prefills[0].sampling.prompt_logprobs, -1) << "delivered long ago";
  stage.rows(w, {row_of(prefills[0].seq, 1, {78})});
  EXPECT_EQ(stage.events<Tokens>().at(0).first, 1);
}

TEST(recovery, an_answer_that_was_complete_ends_at_once) {
  Stage stage;
  Submit complete = submit_of(2, 20, 1);
  complete.tokens.push_back(77);
  stage.submit(complete);
  const auto events = stage.events<Tokens>();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].finish, Finish::length);
  EXPECT_EQ(events[0].first, 1);
}

TEST(recovery, prompt_log_probabilities_are_delivered_once) {
  Stage stage;
  WorkerId w = stage.up(1, Role::both);
  Submit submit = submit_of(1, 40, 0);
  submit.sampling.prompt_logprobs = 0;
  stage.submit(submit);
  const auto chunk = [&](int32_t from, int32_t to) {
    Row row{.seq = stage.only<Prefill>(w).seq, .computed = to};
    for (int32_t i = from; i < to; ++i) {
      if (i > 0) row.prompt_logprobs.push_back({.logprob = static_cast<float>(i)});
    }
    return row;
  };
  stage.rows(w, {chunk(0, 16)});
  stage.down(w);
  w = stage.up(2, Role::both);
  Row again = chunk(0, 40);
  again.finish = Finish::length;
  stage.rows(w, {again});
  float expected = 1;
  for (const Tokens& event : stage.events<Tokens>()) {
    for (const TokenLogprob& logprob : event.prompt_logprobs)
      EXPECT_EQ(logprob.logprob, expected++);
  }
  EXPECT_EQ(expected, 40);
}

TEST(recovery, the_same_process_on_a_new_stream_starts_empty) {
  Stage stage;
  stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 50));
  const WorkerId again = stage.up(2, welcome_of(1, Role::both));
  EXPECT_EQ(stage.take<Prefill>(again).size(), 1u);
  EXPECT_EQ(stage.batcher.stats().blocks_capacity, 64) << "not counted twice";
}

TEST(recovery, a_draining_worker_gets_nothing_new) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 50));
  const SeqId seq = stage.only<Prefill>(w).seq;
  stage.report(w, {.draining = true});
  EXPECT_FALSE(stage.batcher.cluster().ready);
  stage.submit(submit_of(2, 20, 50));
  EXPECT_TRUE(stage.take<Prefill>(w).empty());
  stage.rows(w, {row_of(seq, 0, {1})});
  EXPECT_EQ(stage.events<Tokens>().size(), 1u) << "what runs goes on";
}

TEST(recovery, a_draining_router_finishes_what_runs_and_refuses_the_rest) {
  Stage stage;
  Welcome small = welcome_of(1, Role::both);
  small.rows_max = 1;
  const WorkerId w = stage.up(1, small);
  stage.submit(submit_of(1, 20, 50));
  stage.submit(submit_of(2, 20, 50));
  stage.batcher.drain();
  stage.look();
  const Finished waiting = stage.only_finished();
  EXPECT_EQ(waiting.id.value, 2u);
  EXPECT_EQ(waiting.error.code, Code::unavailable);
  stage.submit(submit_of(3, 20, 50));
  EXPECT_EQ(stage.only_finished().id.value, 3u);
  EXPECT_FALSE(stage.batcher.cluster().ready);
  stage.rows(w, {row_of(stage.only<Prefill>(w).seq, 0, {1}, Finish::stop)});
  EXPECT_TRUE(stage.batcher.idle());
}

}  // namespace
}  // namespace fathom
