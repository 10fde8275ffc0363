// Who may go on when memory runs short? Leases are renewed before they end while blocks last; then
// the youngest gives way to whoever stands still, and comes back first.
#include <gmock/gmock.h>

#include "batching/lease.h"
#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

TEST(lease, a_renewal_is_asked_for_before_the_lease_ends) {
  Stage stage({.lease_tokens = 8});
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 100));
  const SeqId seq = stage.only<Prefill>(w).seq;
  for (int32_t i = 0; i < 4; ++i) stage.rows(w, {row_of(seq, i, {i})});
  EXPECT_TRUE(stage.take<Renew>(w).empty()) << "half of it is left";
  stage.rows(w, {row_of(seq, 4, {4})});
  const Renew renew = stage.only<Renew>(w);
  EXPECT_EQ(renew.lease, 8);
  EXPECT_EQ(renew.blocks, 1) << "28 positions were covered, now 36: a third block of 16";
  EXPECT_EQ(stage.batcher.stats().leases, 11);
}

TEST(lease, no_renewal_beyond_max_tokens) {
  Stage stage({.lease_tokens = 8});
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 20, 10));
  const SeqId seq = stage.only<Prefill>(w).seq;
  for (int32_t i = 0; i < 9; ++i) stage.rows(w, {row_of(seq, i, {i})});
  const auto renewals = stage.take<Renew>(w);
  ASSERT_EQ(renewals.size(), 1u);
  EXPECT_EQ(renewals[0].lease, 2);
}

// Two sequences on a worker of 6 blocks of 16: each starts with 40 tokens and a lease of 8, 3
// blocks.
struct TightStory {
  TightStory() : stage({.lease_tokens = 8}) {
    Welcome tight = welcome_of(1, Role::both);
    tight.blocks = 6;
    w = stage.up(1, tight);
    for (uint64_t id : {1, 2}) stage.submit(submit_of(id, 40, 50));
    const auto prefills = stage.take<Prefill>(w);
    EXPECT_EQ(prefills.size(), 2u);
    old_one = prefills.at(0).seq;
    young_one = prefills.at(1).seq;
  }
  void emit(SeqId seq, int32_t from, int32_t count) {
    for (int32_t i = from; i < from + count; ++i) stage.rows(w, {row_of(seq, i, {i})});
  }
  Stage stage;
  WorkerId w;
  SeqId old_one, young_one;
};

TEST(lease, the_youngest_gives_way_to_an_older_one_that_stands_still) {
  TightStory s;
  s.emit(s.young_one, 0, 2);
  s.emit(s.old_one, 0, 7);
  EXPECT_TRUE(s.stage.take<Drop>(s.w).empty()) << "the old one still runs on its lease";
  s.emit(s.old_one, 7, 1);
  EXPECT_EQ(s.stage.only<Drop>(s.w).seq, s.young_one);
  EXPECT_EQ(s.stage.only<Renew>(s.w).seq, s.old_one);
  EXPECT_EQ(s.stage.batcher.stats().preemptions, 1u);
  EXPECT_EQ(s.stage.batcher.stats().waiting, 1);
  s.stage.take_events();
  s.stage.rows(s.w, {row_of(s.old_one, 8, {2}, Finish::stop)});
  const Prefill again = s.stage.only<Prefill>(s.w);
  EXPECT_EQ(again.tokens.size(), 42u) << "it comes back with what it had emitted";
}

TEST(lease, the_drop_is_written_before_the_renewal_that_uses_its_blocks) {
  TightStory s;
  s.stage.batcher.report(s.w, {.rows = {row_of(s.old_one, 0, {1, 2, 3, 4, 5, 6, 7, 8})}},
                         s.stage.now);
  const Decisions decisions = s.stage.batcher.tick(s.stage.now);
  ASSERT_EQ(decisions.edits.size(), 1u);
  const Edits& edits = decisions.edits[0].second;
  ASSERT_EQ(edits.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<Drop>(edits[0]));
  EXPECT_TRUE(std::holds_alternative<Renew>(edits[1]));
}

TEST(lease, the_youngest_waits_with_its_blocks_and_goes_on_when_others_end) {
  TightStory s;
  s.emit(s.young_one, 0, 8);
  EXPECT_TRUE(s.stage.take<Drop>(s.w).empty()) << "nobody is younger, so nobody gives way";
  EXPECT_TRUE(s.stage.take<Renew>(s.w).empty());
  s.stage.rows(s.w, {row_of(s.old_one, 0, {2}, Finish::stop)});
  EXPECT_EQ(s.stage.only<Renew>(s.w).seq, s.young_one);
}

TEST(lease, nobody_enters_while_someone_waits_for_blocks) {
  TightStory s;
  s.emit(s.young_one, 0, 8);
  s.stage.submit(submit_of(3, 1, 1));
  EXPECT_TRUE(s.stage.take<Prefill>(s.w).empty());
}

TEST(lease, a_sequence_that_outgrows_its_home_moves_to_a_larger_one) {
  Stage stage({.lease_tokens = 8});
  Welcome small = welcome_of(1, Role::both);
  small.blocks = 4;
  const WorkerId s = stage.up(1, small);
  Welcome large = welcome_of(2, Role::both);
  large.rows_max = 1;
  const WorkerId l = stage.up(2, large);
  stage.submit(submit_of(1, 50, 100));
  ASSERT_EQ(stage.take<Prefill>(l).size(), 1u) << "the emptier by fraction";
  stage.submit(submit_of(2, 50, 100));
  const SeqId seq = stage.only<Prefill>(s).seq;
  for (int32_t i = 0; i < 13; ++i) stage.rows(s, {row_of(seq, i, {i})});
  stage.cancel(1);
  EXPECT_TRUE(stage.take<Drop>(s).empty());
  stage.rows(s, {row_of(seq, 13, {13})});
  EXPECT_EQ(stage.take<Drop>(s).size(), 1u) << "64 positions are all it has";
  EXPECT_EQ(stage.only<Prefill>(l).tokens.size(), 64u);
}

TEST(lease, arithmetic_never_grants_beyond_the_blocks) {
  for (int32_t block_tokens : {1, 3, 16}) {
    for (int32_t upto = 1; upto < 40; ++upto) {
      for (int32_t free = 0; free < 4; ++free) {
        const Grant grant{.upto = upto, .end = 45, .blocks = blocks_for(upto, block_tokens)};
        const Extension more = extend(grant, 8, free, block_tokens);
        EXPECT_LE(more.blocks, free);
        EXPECT_LE(upto + more.lease, (grant.blocks + more.blocks) * block_tokens);
        EXPECT_LE(upto + more.lease, grant.end);
        EXPECT_LE(more.lease, 8);
        const bool full = more.lease == std::min(8, grant.end - upto);
        const bool no_more_room = upto + more.lease == (grant.blocks + free) * block_tokens;
        EXPECT_TRUE(full || no_more_room) << "it gives all it can";
      }
    }
  }
}

}  // namespace
}  // namespace fathom
