// What happens to one request from submission to its end, alone and with two workers?
#include <gmock/gmock.h>

#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;

TEST(life, one_worker_of_both_roles_prefills_and_decodes_without_a_move) {
  Stage stage({.lease_tokens = 8});
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(7, 20, 3));
  const Prefill prefill = stage.only<Prefill>(w);
  EXPECT_FALSE(prefill.handoff);
  EXPECT_EQ(prefill.tokens.size(), 20u);
  EXPECT_EQ(prefill.lease, 3) << "never more than what remains";
  EXPECT_EQ(prefill.blocks, 2);
  stage.rows(w, {row_of(prefill.seq, 0, {101})});
  stage.rows(w, {row_of(prefill.seq, 1, {102})});
  stage.rows(w, {row_of(prefill.seq, 2, {103}, Finish::length)});
  const auto tokens = stage.events<Tokens>();
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_THAT(tokens[2].tokens, ElementsAre(103));
  EXPECT_EQ(tokens[2].first, 2);
  EXPECT_EQ(tokens[2].finish, Finish::length);
  EXPECT_TRUE(stage.events<Finished>().empty())
      << "tokens with a finish are the only terminal event";
  EXPECT_TRUE(stage.batcher.idle());
  EXPECT_EQ(stage.batcher.stats().blocks_reserved, 0);
  EXPECT_EQ(stage.edits_left(), 0u) << "the worker freed the blocks itself";
}

struct MovingStory {
  explicit MovingStory(BatcherConfig config = {.lease_tokens = 8}) : stage(config) {
    p = stage.up(1, Role::prefill);
    d = stage.up(2, Role::decode);
    stage.submit(submit_of(7, 20, 100));
    prefill = stage.only<Prefill>(p);
    receive = stage.only<Receive>(d);
  }
  Stage stage;
  WorkerId p, d;
  Prefill prefill;
  Receive receive;
};

TEST(life, both_halves_are_reserved_before_any_work) {
  MovingStory s;
  EXPECT_TRUE(s.prefill.handoff);
  EXPECT_EQ(s.prefill.lease, 1);
  EXPECT_EQ(s.prefill.blocks, 2) << "20 prompt tokens and one more in blocks of 16";
  EXPECT_EQ(s.receive.blocks, 2) << "20 and a lease of 8";
  EXPECT_EQ(s.receive.tokens, 20);
  EXPECT_EQ(s.receive.ticket.address, "10.0.0.1:7000");
  EXPECT_EQ(s.receive.ticket.instance, 1001u);
  EXPECT_EQ(s.receive.ticket.seq, s.prefill.seq);
  EXPECT_EQ(s.receive.ticket.key, s.prefill.key);
  EXPECT_NE(s.prefill.key, 0u);
  EXPECT_EQ(s.stage.batcher.stats().blocks_reserved, 4);
  EXPECT_EQ(s.stage.batcher.stats().moving, 1);
}

TEST(life, first_token_reaches_the_client_before_the_move_ends) {
  MovingStory s;
  s.stage.rows(s.p, {row_of(s.prefill.seq, 0, {101})});
  EXPECT_EQ(s.stage.events<Tokens>().size(), 1u);
  const Decode decode = s.stage.only<Decode>(s.d);
  EXPECT_EQ(decode.tokens.size(), 21u);
  EXPECT_EQ(decode.tokens.back(), 101);
  EXPECT_EQ(decode.lease, 7) << "the first token was part of the lease";
  EXPECT_EQ(s.stage.take<Drop>(s.p).size(), 0u) << "the blocks are still being read";
  s.stage.resident(s.d, s.prefill.seq);
  EXPECT_EQ(s.stage.only<Drop>(s.p).seq, s.prefill.seq);
  EXPECT_EQ(s.stage.batcher.stats().blocks_reserved, 2);
  s.stage.rows(s.d, {row_of(s.prefill.seq, 1, {102})});
  EXPECT_EQ(s.stage.events<Tokens>().size(), 1u);
}

TEST(life, residence_reported_before_the_first_token_waits_for_it) {
  MovingStory s;
  s.stage.resident(s.d, s.prefill.seq);
  EXPECT_TRUE(s.stage.take<Drop>(s.p).empty()) << "its first token is still on the way";
  s.stage.rows(s.p, {row_of(s.prefill.seq, 0, {101})});
  EXPECT_EQ(s.stage.take<Drop>(s.p).size(), 1u);
  EXPECT_EQ(s.stage.take<Decode>(s.d).size(), 1u);
}

TEST(life, a_request_that_ends_with_its_first_token_frees_both_halves) {
  MovingStory s;
  s.stage.rows(s.p, {row_of(s.prefill.seq, 0, {2}, Finish::stop)});
  EXPECT_EQ(s.stage.take<Drop>(s.p).size(), 1u);
  EXPECT_EQ(s.stage.take<Drop>(s.d).size(), 1u);
  EXPECT_TRUE(s.stage.take<Decode>(s.d).empty());
  EXPECT_TRUE(s.stage.batcher.idle());
}

TEST(life, scoring_needs_only_a_worker_that_prefills_and_no_lease) {
  Stage stage;
  const WorkerId p = stage.up(1, Role::prefill);
  stage.up(2, Role::decode);
  Submit submit = submit_of(1, 40, 0);
  submit.sampling.prompt_logprobs = 0;
  stage.submit(submit);
  const Prefill prefill = stage.only<Prefill>(p);
  EXPECT_EQ(prefill.lease, 0);
  EXPECT_FALSE(prefill.handoff);
  EXPECT_EQ(prefill.blocks, 3);
  Row first{.seq = prefill.seq, .computed = 16};
  first.prompt_logprobs.resize(15);
  Row last{.seq = prefill.seq, .computed = 40, .finish = Finish::length};
  last.prompt_logprobs.resize(24);
  stage.rows(p, {first});
  stage.rows(p, {last});
  const auto events = stage.events<Tokens>();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].prompt_logprobs.size() + events[1].prompt_logprobs.size(), 39u);
  EXPECT_EQ(events[1].finish, Finish::length);
  EXPECT_TRUE(stage.batcher.idle());
}

TEST(life, max_tokens_beyond_the_context_ends_at_the_context) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 500, 1'000'000));
  EXPECT_EQ(stage.only<Prefill>(w).sampling.max_tokens, 12);
}

TEST(life, a_deadline_ends_a_running_request) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  Submit submit = submit_of(1, 20, 100);
  submit.time_left = Duration::ms(50);
  stage.submit(submit);
  EXPECT_EQ(stage.wake, stage.now + Duration::ms(50));
  stage.wait(Duration::ms(50));
  EXPECT_EQ(stage.only_finished().error.code, Code::deadline_exceeded);
  EXPECT_EQ(stage.take<Drop>(w).size(), 1u);
  EXPECT_TRUE(stage.batcher.idle());
}

TEST(life, a_client_that_leaves_frees_everything_at_every_stage) {
  for (int stage_of_life = 0; stage_of_life < 4; ++stage_of_life) {
    MovingStory s;
    if (stage_of_life > 0) s.stage.rows(s.p, {row_of(s.prefill.seq, 0, {101})});
    if (stage_of_life > 1) s.stage.resident(s.d, s.prefill.seq);
    if (stage_of_life > 2) s.stage.rows(s.d, {row_of(s.prefill.seq, 1, {102})});
    s.stage.cancel(7);
    EXPECT_EQ(s.stage.only_finished().finish, Finish::cancelled);
    EXPECT_EQ(s.stage.take<Drop>(s.p).size(), 1u);
    EXPECT_EQ(s.stage.take<Drop>(s.d).size(), 1u);
    EXPECT_EQ(s.stage.batcher.stats().blocks_reserved, 0);
    s.stage.take_events();
    s.stage.rows(s.d, {row_of(s.prefill.seq, 2, {103})});
    EXPECT_TRUE(s.stage.take_events().empty()) << "a late token of a cancelled request is nobody's";
  }
}

TEST(life, a_lost_gateway_cancels_its_requests_without_events) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 100), 1);
  stage.submit(submit_of(1, 20, 100), 2);
  stage.batcher.gateway_down({1});
  stage.look();
  EXPECT_EQ(stage.take<Drop>(w).size(), 1u);
  EXPECT_TRUE(stage.take_events().empty());
  EXPECT_EQ(stage.batcher.stats().running, 1);
}

TEST(life, the_trace_tells_when_everything_happened) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  const Instant arrived = stage.now;
  stage.submit(submit_of(9, 20, 2));
  const SeqId seq = stage.only<Prefill>(w).seq;
  stage.wait(Duration::ms(5));
  stage.rows(w, {{.seq = seq, .tokens = {5}, .cached = 16}});
  stage.wait(Duration::ms(5));
  stage.rows(w, {row_of(seq, 1, {6}, Finish::length)});
  const auto traces = stage.batcher.take_traces();
  ASSERT_EQ(traces.size(), 1u);
  EXPECT_EQ(traces[0].arrived, arrived);
  EXPECT_EQ(traces[0].admitted, arrived);
  EXPECT_EQ(traces[0].first_token, arrived + Duration::ms(5));
  EXPECT_EQ(traces[0].ended, arrived + Duration::ms(10));
  EXPECT_EQ(traces[0].emitted, 2);
  EXPECT_EQ(traces[0].cached, 16);
  EXPECT_EQ(traces[0].finish, Finish::length);
}

}  // namespace
}  // namespace fathom
