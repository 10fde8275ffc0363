// Which worker is given up for its silence, and which may be silent? Only one that owes a step,
// only after longer than its steps take, and never because somebody else was not listening.
#include <gmock/gmock.h>

#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

constexpr Duration kStall = Duration::seconds(8);
constexpr Duration kSecondLook = Duration::seconds(1);  // an eighth of the patience

struct Silence : testing::Test {
  Stage stage{{.lease_tokens = 8, .stall = kStall}};

  // As a router does: it ticks when it said it would.
  void pass(Duration time) {
    const Instant end = stage.now + time;
    while (stage.wake < end) {
      stage.now = stage.wake;
      stage.look();
    }
    stage.now = end;
    stage.look();
  }
  std::vector<uint32_t> given_up() const {
    std::vector<uint32_t> ids;
    for (const StalledWorker& worker : stage.stalled) ids.push_back(worker.worker.value);
    return ids;
  }
};

TEST_F(Silence, a_worker_that_stops_stepping_is_given_up_and_no_token_is_lost) {
  const WorkerId first = stage.up(1, Role::both);
  const WorkerId second = stage.up(2, Role::both);
  stage.submit(submit_of(7, 20, 100));
  const Prefill before = stage.only<Prefill>(first);
  stage.rows(first, {row_of(before.seq, 0, {101})});
  stage.rows(first, {row_of(before.seq, 1, {102})});
  stage.take_events();
  pass(kStall);
  EXPECT_THAT(given_up(), testing::IsEmpty());
  pass(kSecondLook);
  ASSERT_THAT(given_up(), testing::ElementsAre(1));
  EXPECT_EQ(stage.stalled[0].silent, kStall + kSecondLook);
  const Prefill after = stage.only<Prefill>(second);
  ASSERT_EQ(after.tokens.size(), 22u);
  EXPECT_EQ(after.tokens[21], 102);
  // What the hung one says once it goes on is about a placement that nobody has any more.
  stage.rows(first, {row_of(before.seq, 2, {999})});
  EXPECT_THAT(stage.events<Tokens>(), testing::IsEmpty());
  stage.rows(second, {row_of(after.seq, 2, {103})});
  const auto events = stage.events<Tokens>();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].first, 2);
  EXPECT_EQ(stage.batcher.stats().recoveries, 1u);
  EXPECT_EQ(stage.batcher.stats().stalled, 1u);
}

TEST_F(Silence, one_that_never_begins_a_prompt_is_given_up_too) {
  stage.up(1, Role::prefill);
  stage.up(2, Role::decode);
  stage.submit(submit_of(7, 20, 100));
  pass(Duration::seconds(60));
  EXPECT_THAT(given_up(), testing::ElementsAre(1));
}

TEST_F(Silence, who_has_nothing_to_step_may_be_silent) {
  const WorkerId p = stage.up(1, Role::prefill);
  const WorkerId d = stage.up(2, Role::decode);
  pass(Duration::seconds(3600));
  stage.submit(submit_of(7, 20, 100));
  const Prefill prefill = stage.only<Prefill>(p);
  // A home waits as long as the prompt is computed.
  for (int32_t chunk = 1; chunk <= 9; ++chunk) {
    pass(kStall);
    Row row = row_of(prefill.seq, 0, {});
    row.computed = chunk;
    stage.rows(p, {row});
  }
  stage.rows(p, {row_of(prefill.seq, 0, {101})});
  // The one that computed it only holds the KV now; the other owes its arrival, and then tokens.
  pass(kStall);
  stage.resident(d, prefill.seq);
  pass(kStall);
  stage.rows(d, {row_of(prefill.seq, 1, {102})});
  EXPECT_THAT(given_up(), testing::IsEmpty());
  pass(Duration::seconds(60));
  EXPECT_THAT(given_up(), testing::ElementsAre(2));
}

TEST_F(Silence, a_home_that_never_says_its_kv_came_is_given_up) {
  const WorkerId p = stage.up(1, Role::prefill);
  stage.up(2, Role::decode);
  stage.submit(submit_of(7, 20, 100));
  stage.rows(p, {row_of(stage.only<Prefill>(p).seq, 0, {101})});
  pass(kStall + kSecondLook);
  EXPECT_THAT(given_up(), testing::ElementsAre(2));
}

TEST_F(Silence, it_counts_from_the_work_and_not_from_the_last_word) {
  stage.up(1, Role::both);
  pass(Duration::seconds(3600));
  EXPECT_EQ(stage.wake, kNever) << "nobody looks at an idle worker";
  stage.submit(submit_of(7, 20, 100));
  EXPECT_EQ(stage.wake, stage.now + kStall);
  pass(kStall);
  EXPECT_THAT(given_up(), testing::IsEmpty());
  pass(kSecondLook);
  EXPECT_THAT(given_up(), testing::ElementsAre(1));
}

TEST_F(Silence, what_the_router_sends_meanwhile_does_not_prolong_it) {
  stage.up(1, Role::both);
  for (uint64_t id = 1; id <= 20; ++id) {
    stage.submit(submit_of(id, 20, 100));
    pass(Duration::ms(500));
    if (id > 1) stage.cancel(id - 1);
  }
  EXPECT_THAT(given_up(), testing::ElementsAre(1));
}

TEST_F(Silence, ten_of_its_longest_steps_are_borne_on_top) {
  const WorkerId worker = stage.up(1, Role::both);
  stage.submit(submit_of(7, 20, 100));
  const Prefill prefill = stage.only<Prefill>(worker);
  stage.report(worker, {.step_us = 4'000'000, .rows = {row_of(prefill.seq, 0, {101})}});
  stage.report(worker, {.step_us = 1000, .rows = {row_of(prefill.seq, 1, {102})}});
  EXPECT_EQ(stage.wake, stage.now + Duration::seconds(48));
  // A step that claims to have taken a year buys no year.
  stage.report(worker, {.step_us = uint64_t{1} << 45, .rows = {row_of(prefill.seq, 2, {103})}});
  EXPECT_LE(stage.wake, stage.now + Duration::seconds(6100));
}

TEST_F(Silence, a_router_that_was_stopped_itself_hears_its_mail_first) {
  const WorkerId worker = stage.up(1, Role::both);
  stage.submit(submit_of(7, 20, 100));
  const Prefill prefill = stage.only<Prefill>(worker);
  stage.wait(Duration::seconds(3600));  // one tick, an hour late
  EXPECT_THAT(given_up(), testing::IsEmpty());
  stage.rows(worker, {row_of(prefill.seq, 0, {101})});
  pass(kStall);
  EXPECT_THAT(given_up(), testing::IsEmpty());
}

TEST_F(Silence, one_that_comes_back_was_only_slow_and_gets_twice_the_time) {
  stage.up(1, Role::both);
  stage.submit(submit_of(7, 20, 100));
  pass(kStall + kSecondLook);
  ASSERT_THAT(given_up(), testing::ElementsAre(1));
  Welcome same = welcome_of(1, Role::both);
  stage.up(2, same);
  EXPECT_EQ(stage.wake, stage.now + Duration{2 * kStall.ns});
  stage.down({2});
  same.instance = 77;  // another process
  stage.up(3, same);
  EXPECT_EQ(stage.wake, stage.now + kStall);
}

TEST_F(Silence, without_the_setting_silence_is_borne_for_ever) {
  Stage patient{{.lease_tokens = 8}};
  patient.up(1, Role::both);
  patient.submit(submit_of(7, 20, 100));
  EXPECT_EQ(patient.wake, kNever);
  patient.wait(Duration::seconds(86400));
  patient.wait(Duration::seconds(86400));
  EXPECT_TRUE(patient.stalled.empty());
}

}  // namespace
}  // namespace fathom
