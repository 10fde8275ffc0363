// Do the processes of a group keep in step, refuse strangers, and notice each other's death?
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <thread>

#include "engine/group_wire.h"
#include "engine/rank_threads.h"
#include "small_engine.h"

namespace fathom {
namespace {

TEST(Group, a_follower_ends_well_when_its_leader_leaves) {
  TwoProcesses two;
  ASSERT_TRUE(two.leader.ok()) << two.leader.error().text();
  const Prompt p = prompt(30, 0);
  const Plan plan{{p.row()}};
  const auto want = make(config(2))->step(plan);
  EXPECT_EQ((*two.leader)->step(plan)->rows[0].tokens.at(0), want->rows[0].tokens.at(0));
  two.leader = Error{};
  two.follower.join();
  EXPECT_TRUE(two.followed.ok()) << two.followed.error().text();
}

TEST(Group, a_follower_with_other_settings_is_refused_on_both_sides) {
  TwoProcesses two(config(2), [](TpEngineConfig& c) { c.block_tokens = 16; });
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

// A leader here, and a follower in a process of its own that can be killed.
struct MortalFollower {
  std::optional<ChildProcess> follower;
  Result<std::unique_ptr<Engine>> leader = Error{};

  explicit MortalFollower(const TpEngineConfig& c) {
    TpEngineConfig lead = c;
    lead.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
    lead.group.listening = [&](int port) {
      follower.emplace([&c, port] {
        TpEngineConfig follow = c;
        follow.group = {
            .processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
        static_cast<void>(run_follower(follow));
      });
    };
    leader = make_tp_engine(lead);
  }
};

TEST(Group, a_dead_follower_ends_the_leaders_next_step_with_unavailable) {
  MortalFollower group(config(2));
  ASSERT_TRUE(group.leader.ok()) << group.leader.error().text();
  Engine& engine = **group.leader;
  const Prompt p = prompt(30, 0);
  const Plan plan{{p.row()}};
  ASSERT_TRUE(engine.step(plan).ok());
  group.follower->kill();
  const auto broken = engine.step(plan);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().code, Code::unavailable);
  EXPECT_FALSE(engine.step(plan).ok()) << "a broken group stays broken";
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

// Begun before the death was known, both steps are lost with the group.
TEST(Group, a_follower_that_dies_under_two_steps_ends_both) {
  TpEngineConfig ahead = config(2);
  ahead.steps_ahead = true;
  MortalFollower group(ahead);
  ASSERT_TRUE(group.leader.ok()) << group.leader.error().text();
  Engine& engine = **group.leader;
  const Prompt p = prompt(30, 0);
  const Plan first{{p.row()}};
  const TokenId unseen = 0;
  Plan second = first;
  second.rows[0].tokens = std::span(&unseen, 1);
  second.rows[0].position = 30;
  second.rows[0].token_of_row = 0;
  const auto drawn = engine.step(first);
  ASSERT_TRUE(drawn.ok());
  Plan next = second;
  next.rows[0].tokens = drawn->rows[0].tokens;
  next.rows[0].token_of_row = -1;
  ASSERT_TRUE(engine.begin(next).ok());
  group.follower->kill();
  second.rows[0].position = 31;
  const Status begun = engine.begin(second);
  ASSERT_FALSE(begun.ok());
  EXPECT_EQ(begun.error().code, Code::unavailable);
  EXPECT_FALSE(engine.finish().ok());
}

TEST(GroupWire, a_step_survives_and_a_torn_one_is_an_error) {
  const std::vector<TokenId> tokens = {4, 5, 6};
  const std::vector<BlockIndex> blocks = {9, 1};
  const StepBatch step{
      .sequences = {{tokens, 7, 8, blocks},
                    {std::span(tokens).first(1), 0, 1, std::span(blocks).first(1)}},
      .fed = {-1, 4},
      .drawn = 5,
      .logit_rows = {2, 3}};
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
  EXPECT_EQ(back.fed, step.fed);
  EXPECT_EQ(back.drawn, step.drawn);
  for (size_t n = 0; n < bytes.size(); n += 4)
    EXPECT_FALSE(decode_step(std::span(bytes).first(n), back).ok()) << n;
  const auto torn_at = [&](size_t word) {
    auto torn = bytes;
    torn[4 * word] = torn[4 * word + 3] = std::byte{0xff};
    return !decode_step(torn, back).ok();
  };
  EXPECT_TRUE(torn_at(2)) << "guesses of as many sequences as there are, or of none";
  StepBatch fed_from_nowhere = step;
  fed_from_nowhere.drawn = 4;
  encode_step(fed_from_nowhere, bytes);
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

}  // namespace
}  // namespace fathom
