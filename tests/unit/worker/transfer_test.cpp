// A prefill and a decode worker in one process: blocks move while the prompt computes, tokens equal
// those of a single worker, and whatever breaks on the way ends in one failure and no leaked block.
#include <gmock/gmock.h>

#include <latch>
#include <thread>

#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;

constexpr SeqId kA{1}, kB{2};
constexpr uint64_t kKey = 4711;

struct SplitStory : ::testing::Test {
  stage::Wire wire;
  stage::Wire unused;
  Node computes{unused, {.role = Role::prefill, .instance = 5, .step_token_budget = 8}};
  Node home{wire, {.role = Role::decode, .step_token_budget = 8}};
  const Sampling sampling{.temperature = 0.8f, .seed = 9, .max_tokens = 20};

  void SetUp() override { wire.peers["p:1"] = &computes.loop.source(); }
  void TearDown() override {
    for (Node* node : {&home, &computes}) node->end();
  }
  Prefill handoff(SeqId seq, const std::vector<TokenId>& prompt) {
    Prefill edit = prefill(seq, prompt, 1, sampling);
    edit.handoff = true;
    edit.key = kKey;
    return edit;
  }
  Receive receive(SeqId seq, const std::vector<TokenId>& prompt, int32_t blocks = 16) {
    wire.tokens = static_cast<int32_t>(prompt.size());
    return {.seq = seq,
            .tokens = wire.tokens,
            .blocks = blocks,
            .ticket = {.address = "p:1", .instance = 5, .seq = seq, .key = kKey}};
  }
  Decode decode(SeqId seq, std::vector<TokenId> prompt, int32_t lease) {
    const auto first = computes.tokens_of(seq);
    Decode edit{.seq = seq,
                .tokens = prompt,
                .prompt_tokens = static_cast<int32_t>(prompt.size()),
                .sampling = sampling,
                .lease = lease};
    edit.tokens.insert(edit.tokens.end(), first.begin(), first.end());
    return edit;
  }
  std::vector<TokenId> both(SeqId seq) {
    auto tokens = computes.tokens_of(seq);
    const auto rest = home.tokens_of(seq);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    return tokens;
  }
};

TEST_F(SplitStory, a_split_request_yields_the_tokens_of_a_single_worker) {
  for (const int32_t length : {1, 3, 4, 5, 8, 30, 41}) {
    const SeqId seq{static_cast<uint64_t>(length)};
    const auto prompt = prompt_of(length);
    home.say({receive(seq, prompt)});
    home.settle();
    computes.say({handoff(seq, prompt)});
    computes.settle();
    home.settle();
    EXPECT_TRUE(home.resident(seq)) << length;
    home.say({decode(seq, prompt, 19)});
    home.settle();
    EXPECT_EQ(both(seq), expected(home.fake, prompt, sampling, 20)) << length;
    EXPECT_EQ(home.finish_of(seq), Finish::length);
    computes.say({Drop{.seq = seq}});
    computes.settle();
  }
}

TEST_F(SplitStory, blocks_move_before_the_prompt_is_done) {
  const auto prompt = prompt_of(30);
  home.say({receive(kA, prompt)});
  home.settle();
  computes.say({handoff(kA, prompt)});
  computes.loop.turn();
  EXPECT_EQ(home.metrics.received_bytes.Value(), 2.0 * computes.engine.info().kv.block_bytes);
  computes.loop.turn();
  EXPECT_EQ(home.metrics.received_bytes.Value(), 4.0 * computes.engine.info().kv.block_bytes);
  EXPECT_TRUE(computes.tokens_of(kA).empty());
}

TEST_F(SplitStory, a_decode_that_comes_before_the_blocks_waits_for_them) {
  const auto prompt = prompt_of(11);
  computes.say({handoff(kA, prompt)});
  computes.settle();
  wire.hold = true;
  home.say({receive(kA, prompt), decode(kA, prompt, 5)});
  home.settle();
  EXPECT_TRUE(home.tokens_of(kA).empty());
  wire.release();
  home.settle();
  EXPECT_TRUE(home.resident(kA));
  EXPECT_EQ(both(kA), expected(home.fake, prompt, sampling, 6));
}

TEST_F(SplitStory, other_sequences_decode_while_one_arrives) {
  const auto prompt = prompt_of(9);
  wire.hold = true;
  home.say({receive(kA, prompt), prefill(kB, prompt_of(4), 8, sampling)});
  home.settle();
  EXPECT_EQ(home.tokens_of(kB), expected(home.fake, prompt_of(4), sampling, 8));
}

TEST_F(SplitStory, the_handoff_keeps_its_blocks_until_it_is_dropped) {
  const auto prompt = prompt_of(9);
  computes.say({handoff(kA, prompt)});
  computes.settle();
  EXPECT_EQ(computes.tokens_of(kA).size(), 1u);
  EXPECT_LT(computes.free_blocks(), computes.fake.blocks);
  computes.say({Drop{.seq = kA}});
  computes.settle();
  EXPECT_EQ(computes.free_blocks(), computes.fake.blocks);
}

TEST_F(SplitStory, a_request_that_ends_with_its_first_token_frees_the_handoff_and_cuts_the_fetch) {
  const auto prompt = prompt_of(9);
  wire.hold = true;
  home.say({receive(kA, prompt)});
  home.settle();
  Prefill edit = handoff(kA, prompt);
  edit.sampling.max_tokens = 1;
  computes.say({edit});
  computes.settle();
  EXPECT_EQ(computes.finish_of(kA), Finish::length);
  EXPECT_EQ(computes.free_blocks(), computes.fake.blocks);
  home.settle();
  EXPECT_EQ(home.failure_of(kA).code, Code::not_found);
}

TEST_F(SplitStory, a_damaged_block_is_a_failure_with_data_loss) {
  const auto prompt = prompt_of(9);
  wire.damage = {Code::data_loss, "block 0 is not what its checksum says", "checksum"};
  home.say({receive(kA, prompt)});
  computes.say({handoff(kA, prompt)});
  computes.settle();
  home.settle();
  computes.settle();
  home.settle();
  EXPECT_EQ(home.failure_of(kA).code, Code::data_loss);
  EXPECT_EQ(home.metrics.transfer_failures.Value(), 1);
  EXPECT_EQ(home.free_blocks(), home.fake.blocks);
  home.say({decode(kA, prompt, 5)});
  home.settle();
  EXPECT_TRUE(home.tokens_of(kA).empty()) << "a Decode that crossed the failure starts nothing";
}

TEST_F(SplitStory, a_silent_sender_counts_as_a_lost_one) {
  const auto prompt = prompt_of(9);
  wire.damage = {Code::deadline_exceeded, "no block came in time", ""};
  computes.say({handoff(kA, prompt)});
  computes.settle();
  home.say({receive(kA, prompt)});
  home.settle();
  EXPECT_EQ(home.failure_of(kA).code, Code::unavailable);
}

TEST_F(SplitStory, a_drop_at_the_home_cancels_the_fetch) {
  const auto prompt = prompt_of(9);
  wire.hold = true;
  home.say({receive(kA, prompt)});
  home.settle();
  computes.say({handoff(kA, prompt)});
  computes.settle();
  home.say({Drop{.seq = kA}});
  home.settle();
  EXPECT_EQ(home.free_blocks(), home.fake.blocks);
  home.reports.clear();
  wire.release();
  home.settle();
  EXPECT_TRUE(home.reports.empty()) << "nothing is heard of it again";
}

TEST_F(SplitStory, a_drop_at_the_sender_fails_the_receiver) {
  const auto prompt = prompt_of(30);
  home.say({receive(kA, prompt)});
  home.settle();
  computes.say({handoff(kA, prompt)});
  computes.loop.turn();
  computes.say({Drop{.seq = kA}});
  computes.settle();
  home.settle();
  EXPECT_EQ(home.failure_of(kA).code, Code::cancelled);
}

TEST_F(SplitStory, blocks_reserved_for_less_than_what_moves_are_refused) {
  home.say({receive(kA, prompt_of(30), 7)});
  home.settle();
  EXPECT_EQ(home.failure_of(kA).code, Code::resource_exhausted);
  EXPECT_EQ(wire.calls, 0);
}

TEST_F(SplitStory, a_decode_with_other_tokens_than_were_moved_is_refused) {
  const auto prompt = prompt_of(9);
  home.say({receive(kA, prompt)});
  Decode wrong = decode(kA, prompt_of(12), 4);
  home.say({wrong});
  home.settle();
  EXPECT_EQ(home.failure_of(kA).field, "tokens");
}

// What one peer is told about one ticket.
struct Peer {
  std::vector<std::pair<int32_t, bool>> ready;
  std::vector<Error> gone;
  BlockSource::Watcher watcher() {
    return {.ready = [this](int32_t complete, bool all) { ready.emplace_back(complete, all); },
            .gone = [this](Error why) { gone.push_back(std::move(why)); }};
  }
};

TEST_F(SplitStory, a_ticket_that_does_not_fit_is_refused_by_name) {
  computes.say({handoff(kA, prompt_of(9))});
  computes.settle();
  const Ticket good{.address = "p:1", .instance = 5, .seq = kA, .key = kKey};
  Ticket wrong_key = good;
  wrong_key.key = 1;
  Ticket wrong_start = good;
  wrong_start.instance = 6;
  Peer a, b, c;
  const auto one = computes.loop.source().watch(wrong_key, 9, a.watcher());
  const auto two = computes.loop.source().watch(wrong_start, 9, b.watcher());
  const auto three = computes.loop.source().watch(good, 10, c.watcher());
  ASSERT_EQ(a.gone.size(), 1u);
  EXPECT_EQ(a.gone[0].code, Code::permission_denied);
  EXPECT_EQ(a.gone[0].field, "key");
  ASSERT_EQ(b.gone.size(), 1u);
  EXPECT_EQ(b.gone[0].code, Code::not_found);
  EXPECT_EQ(b.gone[0].field, "instance");
  ASSERT_EQ(c.gone.size(), 1u);
  EXPECT_EQ(c.gone[0].field, "tokens");
}

TEST_F(SplitStory, a_wrong_key_is_refused_also_when_the_ticket_came_first) {
  Peer peer;
  const auto watch =
      computes.loop.source().watch({.instance = 5, .seq = kA, .key = 1}, 9, peer.watcher());
  computes.say({handoff(kA, prompt_of(9))});
  computes.settle();
  ASSERT_EQ(peer.gone.size(), 1u);
  EXPECT_EQ(peer.gone[0].code, Code::permission_denied);
  EXPECT_TRUE(peer.ready.empty());
}

TEST_F(SplitStory, only_handoffs_can_be_fetched) {
  computes.say({prefill(kA, prompt_of(9), 3, sampling)});
  computes.settle();
  Peer peer;
  const auto watch = computes.loop.source().watch({.instance = 5, .seq = kA}, 9, peer.watcher());
  std::vector<std::byte> bytes(static_cast<size_t>(computes.loop.source().block_bytes()));
  EXPECT_FALSE(computes.loop.source().copy(kA, 0, bytes));
  EXPECT_TRUE(peer.ready.empty());
}

TEST_F(SplitStory, a_ticket_waits_for_its_sequence_but_not_for_ever) {
  Peer peer;
  const auto watch =
      computes.loop.source().watch({.instance = 5, .seq = kA, .key = kKey}, 9, peer.watcher());
  computes.clock.advance(Duration::seconds(9));
  computes.settle();
  EXPECT_TRUE(peer.gone.empty());
  computes.clock.advance(Duration::seconds(2));
  computes.settle();
  ASSERT_EQ(peer.gone.size(), 1u);
  EXPECT_EQ(peer.gone[0].code, Code::not_found);
  EXPECT_EQ(peer.gone[0].field, "seq");
}

TEST_F(SplitStory, a_new_router_refuses_old_tickets_at_once_and_keeps_its_own) {
  Peer older, newer;
  auto& source = computes.loop.source();
  const auto one = source.watch({.instance = 5, .seq = kA, .key = kKey}, 9, older.watcher());
  ASSERT_TRUE(computes.loop.on_hello({.epoch = 3}).ok());
  ASSERT_EQ(older.gone.size(), 1u);
  EXPECT_EQ(older.gone[0].code, Code::unavailable);
  // The ticket of the new router may overtake the boundary at which the old one's sequences are
  // dropped.
  const auto two = source.watch({.instance = 5, .seq = kB, .key = kKey}, 9, newer.watcher());
  computes.settle();
  computes.say({handoff(kB, prompt_of(9))});
  computes.settle();
  EXPECT_TRUE(newer.gone.empty());
  ASSERT_FALSE(newer.ready.empty());
  EXPECT_EQ(newer.ready.back(), std::make_pair(3, true));
}

TEST_F(SplitStory, a_watch_that_was_let_go_hears_nothing_more) {
  Peer peer;
  auto watch =
      computes.loop.source().watch({.instance = 5, .seq = kA, .key = kKey}, 9, peer.watcher());
  watch.reset();
  computes.say({handoff(kA, prompt_of(9)), Drop{.seq = kB}});
  computes.settle();
  computes.say({Drop{.seq = kA}});
  computes.settle();
  EXPECT_TRUE(peer.ready.empty());
  EXPECT_TRUE(peer.gone.empty());
}

TEST_F(SplitStory, only_complete_blocks_are_given_out) {
  computes.say({handoff(kA, prompt_of(30))});
  computes.loop.turn();
  std::vector<std::byte> bytes(static_cast<size_t>(computes.loop.source().block_bytes()));
  EXPECT_TRUE(computes.loop.source().copy(kA, 1, bytes));
  EXPECT_FALSE(computes.loop.source().copy(kA, 2, bytes));
  EXPECT_FALSE(computes.loop.source().copy(kA, -1, bytes));
  computes.settle();
  EXPECT_TRUE(computes.loop.source().copy(kA, 7, bytes)) << "the last, partial one";
  EXPECT_FALSE(computes.loop.source().copy(kA, 8, bytes));
}

TEST_F(SplitStory, a_drop_waits_for_the_copy_that_runs) {
  computes.say({handoff(kA, prompt_of(9))});
  computes.settle();
  std::vector<std::byte> bytes(static_cast<size_t>(computes.loop.source().block_bytes()));
  std::vector<std::byte> before(bytes.size());
  ASSERT_TRUE(computes.loop.source().copy(kA, 0, before));
  std::latch copying(1), may_end(1);
  std::atomic<bool> first = true;
  computes.engine.on_export = [&] {
    if (!first.exchange(false)) return;
    copying.count_down();
    may_end.wait();
  };
  bool copied = false;
  std::thread reader([&] { copied = computes.loop.source().copy(kA, 0, bytes); });
  copying.wait();
  // While the reader is in the engine, a Drop and a successor for the same memory arrive.
  computes.say({Drop{.seq = kA}, prefill(kB, prompt_of(200), 0, sampling)});
  std::atomic<bool> turned = false;
  std::thread crank([&] {
    computes.loop.turn();
    turned = true;
  });
  // The Drop has begun once new copies are refused; the turn can not have ended, since the reader
  // has not left.
  std::vector<std::byte> other(bytes.size());
  while (computes.loop.source().copy(kA, 0, other)) std::this_thread::yield();
  EXPECT_FALSE(turned);
  may_end.count_down();
  reader.join();
  crank.join();
  EXPECT_TRUE(copied);
  EXPECT_EQ(bytes, before) << "the copy is of the old sequence, whole";
}

}  // namespace
}  // namespace fathom
