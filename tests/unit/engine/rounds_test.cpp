// Do engines that share experts step together? Scripted ranks: who takes part in which round, who
// waits, and what a rank that fails does to the others.
#include "engine/rounds.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <set>

namespace fathom {
namespace {

// Far longer than any test: a round that waits for a rank that does not come would show.
constexpr Duration kLong = Duration::seconds(3600);

// Notes who stepped and who only assisted in each round. Rank 0 can be held inside its step.
class Script final : public RoundWork {
 public:
  explicit Script(int32_t ranks) : ranks_(ranks) {}

  Status begin(int32_t rank, const Plan& plan) override {
    std::unique_lock lock(mutex_);
    rows_begun[static_cast<size_t>(rank)] = plan.rows.size();
    stepping_.insert(rank);
    changed_.notify_all();
    changed_.wait(lock, [&] { return rank != 0 || !held_; });
    if (rank == failing) return Error{Code::internal, "this rank failed", "rank"};
    return {};
  }
  // The last rank to come ends the round.
  Status assist(int32_t) override {
    std::unique_lock lock(mutex_);
    if (failing >= 0) return Error{Code::unavailable, "another rank left", "rank"};
    const size_t round = rounds.size();
    if (++assisting_ == ranks_) {
      assisting_ = 0;
      rounds.push_back(std::exchange(stepping_, {}));
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return rounds.size() > round || failing >= 0; });
    return {};
  }

  void hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  void await_step(int32_t rank) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stepping_.contains(rank); });
  }

  std::vector<std::set<int32_t>> rounds;  // who had a plan
  std::array<size_t, 3> rows_begun = {};  // of each rank's last plan
  std::atomic<int32_t> failing = -1;

 private:
  const int32_t ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int32_t> stepping_;
  int32_t assisting_ = 0;
  bool held_ = false;
};

Plan plan_of(size_t rows) {
  Plan plan;
  plan.rows.resize(rows);
  return plan;
}

TEST(Rounds, a_rank_with_a_plan_is_not_kept_waiting_by_ranks_without) {
  Script script(3);
  Rounds rounds(3, script, kLong);
  for (size_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(rounds.begin(1, plan_of(i)).ok());
    EXPECT_EQ(script.rows_begun[1], i);
  }
  // The answer of the last step may be there before its round is over.
  for (size_t i = 0; i < 19; ++i) EXPECT_EQ(script.rounds[i], (std::set<int32_t>{1}));
}

TEST(Rounds, a_plan_that_comes_while_a_round_runs_is_in_the_next_with_the_ranks_of_the_last) {
  Script script(2);
  {
    Rounds rounds(2, script, kLong);
    script.hold();
    std::thread first([&] {
      EXPECT_TRUE(rounds.begin(0, plan_of(1)).ok());
      EXPECT_TRUE(rounds.begin(0, plan_of(1)).ok());
    });
    script.await_step(0);
    std::thread second([&] { EXPECT_TRUE(rounds.begin(1, plan_of(1)).ok()); });
    while (!rounds.waiting(1)) std::this_thread::yield();
    script.release();
    first.join();
    second.join();
  }
  ASSERT_EQ(script.rounds.size(), 2u);
  EXPECT_EQ(script.rounds[0], (std::set<int32_t>{0}));
  EXPECT_EQ(script.rounds[1], (std::set<int32_t>{0, 1})) << "neither goes ahead of the other";
}

TEST(Rounds, busy_ranks_step_side_by_side_and_none_is_waited_for_for_ever) {
  constexpr int kSteps = 200;
  Script script(3);
  {
    Rounds rounds(3, script, Duration::ms(50));
    std::vector<std::thread> loops;
    for (int32_t rank = 0; rank < 3; ++rank)
      loops.emplace_back([&, rank] {
        for (int i = 0; i < kSteps * (rank + 1); ++i)
          ASSERT_TRUE(rounds.begin(rank, plan_of(1)).ok());
      });
    for (auto& loop : loops) loop.join();
  }
  size_t plans = 0;
  for (const auto& round : script.rounds) plans += round.size();
  EXPECT_EQ(plans, size_t{kSteps * 6}) << "each plan is computed once";
}

TEST(Rounds, a_rank_that_fails_breaks_the_round_for_all_and_for_good) {
  Script script(2);
  Rounds rounds(2, script, kLong);
  script.failing = 0;
  script.hold();
  std::thread failing([&] {
    const auto begun = rounds.begin(0, plan_of(1));
    ASSERT_FALSE(begun.ok());
    EXPECT_EQ(begun.error().code, Code::internal);
  });
  script.await_step(0);
  std::thread waiting([&] { EXPECT_FALSE(rounds.begin(1, plan_of(1)).ok()); });
  script.release();
  failing.join();
  waiting.join();
  EXPECT_FALSE(rounds.begin(0, plan_of(1)).ok());
  EXPECT_FALSE(rounds.begin(1, plan_of(1)).ok());
}

}  // namespace
}  // namespace fathom
