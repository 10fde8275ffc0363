// Does a worker that begins a step before the last one has landed say the same, and never hand out
// a block too early? The same stories with and without steps ahead, and those that only happen
// there: a row computed in vain, a drop and an arrival while two steps are under way.
#include <random>
#include <set>

#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;

constexpr SeqId kA{1}, kB{2}, kC{3};

Sampling longer(int32_t max_tokens) { return {.temperature = 0, .max_tokens = max_tokens}; }

struct Ahead : ::testing::Test {
  stage::Wire wire;
  Node node{wire, {.rows_max = 8, .step_token_budget = 16}, stage::small_engine(true)};
  int begun = 0, ahead = 0;  // steps, and rows that went on from a draw in flight
  void SetUp() override {
    node.engine.on_step = [this](const Plan& plan) {
      ++begun;
      for (const StepRow& row : plan.rows) ahead += row.token_of_row >= 0;
    };
  }
  void TearDown() override { node.end(); }
};

TEST_F(Ahead, plain_decoding_begins_every_step_before_the_last_one_landed) {
  const auto prompt = prompt_of(10);
  node.say({prefill(kA, prompt, 12, longer(12))});
  node.loop.turn();  // the prompt, alone
  EXPECT_EQ(begun, 1);
  node.loop.turn();  // two are begun, one lands
  EXPECT_EQ(begun, 3);
  EXPECT_EQ(node.tokens_of(kA).size(), 2u);
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(12), 12));
  EXPECT_EQ(node.finish_of(kA), Finish::length);
  EXPECT_EQ(begun, 12) << "an end that is foreseen costs no step";
  EXPECT_EQ(ahead, 10) << "all but the prompt and the row after it";
  EXPECT_EQ(node.metrics.steps_ahead.Value(), 10);
}

TEST_F(Ahead, a_stop_token_costs_one_row_computed_in_vain_which_nobody_hears_of) {
  const auto prompt = prompt_of(5);
  const auto chain = expected(node.fake, prompt, longer(30), 30);
  Sampling sampling = longer(30);
  sampling.stop_tokens = {chain[7]};
  const auto ends = static_cast<size_t>(std::ranges::find(chain, chain[7]) - chain.begin()) + 1;
  node.say({prefill(kA, prompt, 30, sampling)});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), std::vector(chain.begin(), chain.begin() + ends));
  EXPECT_EQ(node.finish_of(kA), Finish::stop);
  EXPECT_EQ(begun, static_cast<int>(ends) + 1);
  EXPECT_EQ(node.free_blocks(), node.fake.blocks);
}

TEST_F(Ahead, to_the_router_the_blocks_of_an_ended_sequence_are_free_at_once_and_so_they_are) {
  const auto prompt = prompt_of(5);
  const auto chain = expected(node.fake, prompt, longer(30), 30);
  Sampling sampling = longer(30);
  sampling.stop_tokens = {chain[7]};
  node.say({prefill(kA, prompt, 30, sampling)});
  while (node.finish_of(kA) == Finish::none) ASSERT_TRUE(node.loop.turn());
  EXPECT_EQ(node.reports.back().free_blocks, node.fake.blocks);
  EXPECT_LT(node.free_blocks(), node.fake.blocks) << "a row of it is still under way";
  // A newcomer that needs every block, A's among them.
  auto all = prefill(kB, prompt_of(180, 50), 20, longer(20));
  all.blocks = node.fake.blocks;
  node.say({all});
  node.settle();
  EXPECT_EQ(node.failure_of(kB).code, Code::ok) << node.failure_of(kB).message;
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, prompt_of(180, 50), longer(20), 20));
}

TEST_F(Ahead, what_is_fetched_into_blocks_that_came_free_is_not_written_over_by_a_row_in_vain) {
  stage::Wire other_wire;
  Node sender{other_wire, {.rows_max = 8, .step_token_budget = 64}, stage::small_engine()};
  wire.peers["sender"] = &sender.loop.source();
  wire.tokens = 180;
  auto handoff = prefill(kB, prompt_of(180, 50), 1, longer(20));
  handoff.handoff = true;
  handoff.key = 5;
  sender.say({handoff});
  sender.settle();
  const TokenId first = sender.tokens_of(kB).at(0);

  const auto prompt = prompt_of(5);
  const auto chain = expected(node.fake, prompt, longer(30), 30);
  Sampling sampling = longer(30);
  sampling.stop_tokens = {chain[7]};
  node.say({prefill(kA, prompt, 30, sampling)});
  while (node.finish_of(kA) == Finish::none) ASSERT_TRUE(node.loop.turn());
  auto tokens = prompt_of(180, 50);
  tokens.push_back(first);
  node.say({Receive{.seq = kB,
                    .tokens = 180,
                    .blocks = node.fake.blocks,
                    .ticket = {.address = "sender", .instance = 77, .seq = kB, .key = 5}},
            Decode{.seq = kB,
                   .tokens = tokens,
                   .prompt_tokens = 180,
                   .sampling = longer(20),
                   .lease = 19}});
  node.settle();
  const auto all = expected(node.fake, prompt_of(180, 50), longer(20), 20);
  EXPECT_EQ(node.tokens_of(kB), std::vector(all.begin() + 1, all.end()));
}

TEST_F(Ahead, a_dropped_sequence_is_silent_from_then_on_and_its_id_can_come_again) {
  const auto prompt = prompt_of(6);
  node.say({prefill(kA, prompt, 40, longer(40)), prefill(kC, prompt_of(4), 20, longer(20))});
  for (int i = 0; i < 4; ++i) node.loop.turn();
  const size_t said = node.tokens_of(kA).size();
  node.say({Drop{.seq = kA}});
  node.loop.turn();
  EXPECT_EQ(node.tokens_of(kA).size(), said) << "what was under way reaches nobody";
  node.reports.clear();
  node.say({Drop{.seq = kC}, prefill(kC, prompt_of(9, 70), 6, longer(6))});
  node.settle();
  EXPECT_EQ(node.tokens_of(kC), expected(node.fake, prompt_of(9, 70), longer(6), 6));
}

TEST_F(Ahead, a_row_that_is_not_a_number_fails_once) {
  node.say({prefill(kA, prompt_of(4), 9, longer(9)), prefill(kB, prompt_of(7), 9, longer(9))});
  for (int i = 0; i < 3; ++i) node.loop.turn();
  node.engine.after_step = [](StepResult& result) {
    result.rows[0].status = Error{Code::internal, "a logit is not a number", "logits"};
    result.rows[0].tokens.clear();
  };
  node.loop.turn();
  node.engine.after_step = nullptr;
  node.settle();
  int failures = 0;
  for (const Report& report : node.reports) failures += static_cast<int>(report.failed.size());
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(node.failure_of(kA).code, Code::internal);
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, prompt_of(7), longer(9), 9));
}

TEST_F(Ahead, a_lease_renewed_while_its_last_token_is_under_way_goes_on_without_a_gap) {
  const auto prompt = prompt_of(6);
  node.say({prefill(kA, prompt, 3, longer(20)), prefill(kB, prompt_of(5), 20, longer(20))});
  node.loop.turn();
  node.loop.turn();  // A's third token is under way
  EXPECT_EQ(node.tokens_of(kA).size(), 2u);
  node.say({Renew{.seq = kA, .lease = 5, .blocks = 2}});
  node.settle();
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, longer(20), 8));
}

TEST_F(Ahead, penalties_wait_for_every_token) {
  std::vector<TokenCount> seen;
  node.engine.on_step = [&](const Plan& plan) {
    for (const StepRow& row : plan.rows) ahead += row.token_of_row >= 0;
    seen.assign(plan.rows[0].state.counts.begin(), plan.rows[0].state.counts.end());
  };
  Sampling sampling = longer(6);
  sampling.frequency_penalty = 0.5f;
  sampling.logit_bias = {{9, 100.0f}};  // the fake engine always draws 9
  node.say({prefill(kA, {20, 9}, 6, sampling), prefill(kB, prompt_of(4), 6, longer(6))});
  node.settle();
  EXPECT_EQ(seen.at(0), (TokenCount{9, 5 + 1 - 1}));
  EXPECT_EQ(ahead, 0);
}

TEST_F(Ahead, a_broken_group_leaves_nothing_in_flight) {
  node.say({prefill(kA, prompt_of(4), 20, longer(20))});
  for (int i = 0; i < 3; ++i) node.loop.turn();
  node.engine.broken = true;
  EXPECT_EQ(node.loop.run().error().text(), "UNAVAILABLE: rank 1 is gone (group)");
  EXPECT_EQ(node.leaked(), 0);
  node.engine.broken = false;
}

TEST_F(Ahead, a_new_router_hears_nothing_of_what_was_under_way) {
  node.say({prefill(kA, prompt_of(4), 20, longer(20))});
  for (int i = 0; i < 3; ++i) node.loop.turn();
  ASSERT_TRUE(node.loop.on_hello({.epoch = 11}).ok());
  node.reports.clear();
  node.settle();
  EXPECT_TRUE(node.reports.empty());
  EXPECT_EQ(node.free_blocks(), node.fake.blocks);
}

// A load drawn from a seed: arrivals, endings of all kinds, leases that run out and are renewed,
// drops. What a sequence says must be its chain, whatever happens around it.
struct Load {
  explicit Load(uint64_t seed, bool steps_ahead)
      : random(seed), node(wire, settings(seed), engine(steps_ahead)) {
    node.engine.on_step = [this](const Plan& plan) {
      for (const StepRow& row : plan.rows) ahead += row.token_of_row >= 0;
    };
  }
  // In some loads more sequences decode than a step may hold, so they take turns.
  static LoopConfig settings(uint64_t seed) {
    return {.rows_max = 12, .step_token_budget = seed % 3 == 0 ? 5 : 24};
  }
  static FakeEngineConfig engine(bool steps_ahead) {
    FakeEngineConfig c = stage::small_engine(steps_ahead);
    c.blocks = 96;
    return c;
  }
  int32_t below(int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); }

  struct Request {
    std::vector<TokenId> prompt;
    Sampling sampling;
    std::vector<TokenId> whole;  // all it will say if nobody drops it
    int32_t blocks = 0;
    int32_t lease = 0;  // granted in all
    bool dropped = false, ended = false;
  };

  void arrive() {
    Request r;
    r.prompt = prompt_of(1 + below(25), 10 + below(200));
    r.sampling = {
        .temperature = below(2) == 0 ? 0.0f : 1.0f, .seed = random(), .max_tokens = 1 + below(30)};
    if (below(4) == 0) r.sampling.presence_penalty = 0.5f;
    r.sampling.logprobs = below(3) - 1;
    const auto chain = expected(node.fake, r.prompt, r.sampling, r.sampling.max_tokens);
    if (below(2) == 0) r.sampling.stop_tokens = {chain[chain.size() / 2]};
    for (const TokenId token : chain) {
      r.whole.push_back(token);
      if (!r.sampling.stop_tokens.empty() && token == r.sampling.stop_tokens[0]) break;
    }
    const SeqId seq{++last};
    auto edit = prefill(seq, r.prompt, 1 + below(6), r.sampling);
    r.lease = edit.lease;
    r.blocks = edit.blocks;
    if (reserved + edit.blocks > node.fake.blocks || running() >= 12) return;
    reserved += edit.blocks;
    requests[seq] = std::move(r);
    edits.push_back(std::move(edit));
  }
  void renew_or_drop() {
    for (auto& [seq, r] : requests) {
      if (r.dropped || r.ended) continue;
      if (below(60) == 0) {
        edits.push_back(Drop{.seq = seq});
        r.dropped = true;
        reserved -= r.blocks;
      } else if (const auto said = static_cast<int32_t>(node.tokens_of(seq).size());
                 r.lease - said < 2) {
        const int32_t more = 1 + below(7);
        const int32_t blocks =
            blocks_for(static_cast<int64_t>(r.prompt.size()) + r.lease + more, 4) - r.blocks;
        if (reserved + blocks > node.fake.blocks) continue;
        reserved += blocks;
        r.blocks += blocks;
        r.lease += more;
        edits.push_back(Renew{.seq = seq, .lease = more, .blocks = blocks});
      }
    }
  }
  int32_t running() const {
    return static_cast<int32_t>(std::ranges::count_if(
        requests, [](const auto& r) { return !r.second.dropped && !r.second.ended; }));
  }
  // Reads the reports since the last call as the router does: the account and the endings.
  void hear() {
    for (; heard < node.reports.size(); ++heard) {
      for (const Row& row : node.reports[heard].rows) {
        Request& r = requests.at(row.seq);
        EXPECT_FALSE(r.ended) << "nothing follows an end";
        if (row.finish == Finish::none) continue;
        r.ended = true;
        if (!r.dropped) reserved -= r.blocks;
      }
      EXPECT_TRUE(node.reports[heard].failed.empty());
    }
  }
  void run() {
    for (int round = 0; round < 1000; ++round) {
      if (round < 250 && below(3) == 0) arrive();
      renew_or_drop();
      if (!edits.empty()) node.say(std::exchange(edits, {}));
      node.loop.turn();
      hear();
      ASSERT_EQ(node.leaked(), 0) << "round " << round;
    }
  }

  std::mt19937_64 random;
  stage::Wire wire;
  Node node;
  std::map<SeqId, Request> requests;
  Edits edits;
  int32_t reserved = 0;  // blocks, by the router's book
  uint64_t last = 0;
  size_t heard = 0;
  int ahead = 0;
};

TEST(AheadLoad, steps_ahead_change_no_token) {
  int ahead = 0, dropped = 0, stopped = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    for (const bool steps_ahead : {false, true}) {
      SCOPED_TRACE("seed " + std::to_string(seed) + (steps_ahead ? ", steps ahead" : ""));
      Load load(seed, steps_ahead);
      load.run();
      for (const auto& [seq, request] : load.requests) {
        const auto said = load.node.tokens_of(seq);
        ASSERT_LE(said.size(), static_cast<size_t>(request.lease)) << "never beyond the lease";
        if (request.dropped) {
          ASSERT_LE(said.size(), request.whole.size());
          ASSERT_TRUE(std::equal(said.begin(), said.end(), request.whole.begin()));
          ++dropped;
          continue;
        }
        ASSERT_EQ(said, request.whole) << "sequence " << seq.value;
        ASSERT_TRUE(request.ended);
        stopped += load.node.finish_of(seq) == Finish::stop;
      }
      std::map<SeqId, int32_t> next;
      for (const Report& report : load.node.reports)
        for (const Row& row : report.rows) {
          ASSERT_EQ(row.first, next[row.seq]);
          next[row.seq] += static_cast<int32_t>(row.tokens.size());
          if (load.requests.at(row.seq).sampling.logprobs >= 0) {
            ASSERT_EQ(row.logprobs.size(), row.tokens.size());
          }
        }
      EXPECT_EQ(load.node.free_blocks(), load.node.fake.blocks);
      ahead += load.ahead;
    }
  }
  // Loads in which nothing runs ahead, is dropped or stops prove nothing.
  EXPECT_GT(ahead, 5000);
  EXPECT_GT(dropped, 100);
  EXPECT_GT(stopped, 100);
}

}  // namespace
}  // namespace fathom
