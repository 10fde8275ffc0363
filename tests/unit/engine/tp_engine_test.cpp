// Does the engine keep its promises when a row is wrong, a block holds garbage, or a process of its
// group dies?
#include "engine/tp_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <numeric>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "engine/group_wire.h"
#include "engine/measure.h"
#include "engine/rank_threads.h"
#include "tests/golden/checkpoint_writer.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;
const std::string kModel = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16";

TpEngineConfig config(int32_t tensor_parallel = 1) {
  return {
      .model_dir = kModel, .tensor_parallel = tensor_parallel, .block_tokens = 8, .kv_blocks = 32};
}

std::unique_ptr<Engine> make(const TpEngineConfig& c) {
  auto made = make_tp_engine(c);
  CHECK(made.ok(), made.ok() ? "" : made.error().text());
  return std::move(made).value();
}

// One prompt on blocks of its own.
struct Prompt {
  std::vector<TokenId> tokens;
  std::vector<BlockIndex> blocks;
  Sampling sampling{.temperature = 0};
  StepRow row() const {
    return {.tokens = tokens,
            .prompt_tokens = static_cast<int32_t>(tokens.size()),
            .blocks = blocks,
            .sample = true,
            .state = {.sampling = &sampling}};
  }
};

Prompt prompt(int32_t length, BlockIndex first_block) {
  Prompt p;
  for (int32_t i = 0; i < length; ++i) p.tokens.push_back((i * 37 + 11) % 512);
  p.blocks.resize(static_cast<size_t>(blocks_for(length, 8)));
  std::iota(p.blocks.begin(), p.blocks.end(), first_block);
  return p;
}

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
  const TokenId want = engine->step(alone)->rows[0].token;
  const Plan mixed{{foreign.row(), good.row(), negative.row(), too_long.row()}};
  const auto got = engine->step(mixed);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->rows[0].status.error().code, Code::invalid_argument);
  EXPECT_TRUE(got->rows[1].status.ok());
  EXPECT_EQ(got->rows[1].token, want);
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
    const TokenId want = engine->step(plan)->rows[0].token;
    const std::vector<std::byte> garbage(static_cast<size_t>(engine->info().kv.block_bytes),
                                         std::byte{0xff});  // NaN
    for (BlockIndex b = 0; b < engine->info().blocks; ++b)
      ASSERT_TRUE(engine->import_block(b, garbage).ok());
    const auto got = engine->step(plan);
    ASSERT_TRUE(got->rows[0].status.ok()) << got->rows[0].status.error().text();
    EXPECT_EQ(got->rows[0].token, want);
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
    next[i].tokens = {before->rows[i].token};
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
  ASSERT_EQ(got.logprob.top.size(), 4u);
  EXPECT_EQ(got.logprob.top[0].token, got.token);
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
    EXPECT_EQ(engine->step(alone)->rows[0].token, all->rows[i].token);
    EXPECT_EQ(all->rows[i].token, all->rows[i % 4].token);
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

// A leader and a follower in two threads, over sockets.
struct TwoProcesses {
  Status followed;
  std::thread follower;
  Result<std::unique_ptr<Engine>> leader = Error{};

  explicit TwoProcesses(const std::function<void(TpEngineConfig&)>& change_follower = {}) {
    TpEngineConfig lead = config(2);
    lead.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
    lead.group.connect_time_max = Duration::seconds(20);
    lead.group.listening = [&](int port) {
      TpEngineConfig c = config(2);
      c.group = {.processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
      c.group.connect_time_max = Duration::seconds(20);
      if (change_follower) change_follower(c);
      follower = std::thread([this, c] { followed = run_follower(c); });
    };
    leader = make_tp_engine(lead);
  }
  ~TwoProcesses() {
    if (follower.joinable()) follower.join();
  }
};

TEST(Group, a_follower_ends_well_when_its_leader_leaves) {
  TwoProcesses two;
  ASSERT_TRUE(two.leader.ok()) << two.leader.error().text();
  const Prompt p = prompt(30, 0);
  const Plan plan{{p.row()}};
  const auto want = make(config(2))->step(plan);
  EXPECT_EQ((*two.leader)->step(plan)->rows[0].token, want->rows[0].token);
  two.leader = Error{};
  two.follower.join();
  EXPECT_TRUE(two.followed.ok()) << two.followed.error().text();
}

TEST(Group, a_follower_with_other_settings_is_refused_on_both_sides) {
  TwoProcesses two([](TpEngineConfig& c) { c.block_tokens = 16; });
  two.follower.join();
  ASSERT_FALSE(two.leader.ok());
  EXPECT_EQ(two.leader.error().code, Code::failed_precondition);
  ASSERT_FALSE(two.followed.ok());
  EXPECT_EQ(two.followed.error().field, "block_tokens");
}

// Runs `body` in a process of its own; killed, not ended, when this goes away.
class ChildProcess {
 public:
  explicit ChildProcess(const std::function<void()>& body) : id_(::fork()) {
    CHECK(id_ >= 0);
    if (id_ > 0) return;
    body();
    ::_exit(0);
  }
  ~ChildProcess() { kill(); }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  void kill() {
    if (id_ <= 0) return;
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
    id_ = 0;
  }

 private:
  pid_t id_;
};

TEST(Group, a_dead_follower_ends_the_leaders_next_step_with_unavailable) {
  std::optional<ChildProcess> child;
  TpEngineConfig lead = config(2);
  lead.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
  lead.group.listening = [&](int port) {
    child.emplace([port] {
      TpEngineConfig c = config(2);
      c.group = {.processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
      static_cast<void>(run_follower(c));
    });
  };
  auto engine = make_tp_engine(lead);
  ASSERT_TRUE(engine.ok()) << engine.error().text();
  const Prompt p = prompt(30, 0);
  const Plan plan{{p.row()}};
  ASSERT_TRUE((*engine)->step(plan).ok());
  child->kill();
  const auto broken = (*engine)->step(plan);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().code, Code::unavailable);
  EXPECT_FALSE((*engine)->step(plan).ok()) << "a broken group stays broken";
}

TEST(Group, a_dead_leader_ends_its_follower_with_unavailable) {
  int port_pipe[2];
  ASSERT_EQ(::pipe(port_pipe), 0);
  ChildProcess leader([&] {
    TpEngineConfig c = config(2);
    c.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
    c.group.listening = [&](int port) {
      CHECK(::write(port_pipe[1], &port, sizeof(port)) == sizeof(port));
    };
    const auto engine = make_tp_engine(c);
    ::raise(SIGKILL);
  });
  int port = 0;
  ASSERT_EQ(::read(port_pipe[0], &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
  TpEngineConfig c = config(2);
  c.group = {.processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
  const Status followed = run_follower(c);
  ASSERT_FALSE(followed.ok());
  EXPECT_EQ(followed.error().code, Code::unavailable);
  ::close(port_pipe[0]);
  ::close(port_pipe[1]);
}

TEST(GroupWire, a_step_survives_and_a_torn_one_is_an_error) {
  const std::vector<TokenId> tokens = {4, 5, 6};
  const std::vector<BlockIndex> blocks = {9, 1};
  const StepBatch step{
      {{tokens, 7, 8, blocks}, {std::span(tokens).first(1), 0, 1, std::span(blocks).first(1)}},
      {2, 3}};
  std::vector<std::byte> bytes;
  encode_step(step, bytes);
  StepBatch back;
  ASSERT_TRUE(decode_step(bytes, back).ok());
  ASSERT_EQ(back.sequences.size(), 2u);
  EXPECT_TRUE(std::ranges::equal(back.sequences[0].tokens, tokens));
  EXPECT_TRUE(std::ranges::equal(back.sequences[0].blocks, blocks));
  EXPECT_EQ(back.sequences[0].position, 7);
  EXPECT_EQ(back.sequences[0].prompt_tokens, 8);
  EXPECT_EQ(back.logit_rows, step.logit_rows);
  for (size_t n = 0; n < bytes.size(); n += 4)
    EXPECT_FALSE(decode_step(std::span(bytes).first(n), back).ok()) << n;
  bytes[8] = std::byte{0xff};
  bytes[11] = std::byte{0xff};
  EXPECT_FALSE(decode_step(bytes, back).ok());
}

TEST(RankThreads, every_rank_runs_every_job_once_and_a_broken_barrier_frees_all) {
  RankThreads threads(3);
  std::vector<int> ran(3);
  for (int job = 0; job < 100; ++job)
    threads.run([&](int32_t rank) { ++ran[static_cast<size_t>(rank)]; });
  EXPECT_EQ(ran, (std::vector<int>{100, 100, 100}));
  BreakableBarrier barrier(3);
  std::vector<int> passed(3);
  threads.run([&](int32_t rank) {
    for (int round = 0; round < 50; ++round)
      passed[static_cast<size_t>(rank)] += barrier.arrive_and_wait();
    if (rank == 1) return barrier.give_up();
    passed[static_cast<size_t>(rank)] += barrier.arrive_and_wait();
  });
  EXPECT_EQ(passed, (std::vector<int>{50, 50, 50}));
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

}  // namespace
}  // namespace fathom
