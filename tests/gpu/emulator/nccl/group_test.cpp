// Do processes whose GPUs meet through NCCL compute what threads of one process do, and does a step
// end when one of them hangs? The two processes are threads here; what they share is NCCL's mail
// and a socket.
#include <gtest/gtest.h>

#include <mutex>
#include <set>

#include "tests/gpu/emulator/machine.h"
#include "tests/unit/engine/small_engine.h"

namespace fathom {
namespace {

TpEngineConfig settings(Duration patience) {
  TpEngineConfig c = config(2);
  c.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-mtp";
  c.device.cuda = true;
  c.speculative_tokens = 2;
  c.group.patience = patience;
  return c;
}

// Two processes, a GPU each; neither reaches the other's memory.
struct Pair : TwoProcesses {
  explicit Pair(const TpEngineConfig& c)
      : TwoProcesses((forget_peers(), c), [](TpEngineConfig& other) { other.device.gpu = 1; }) {}
  static void forget_peers() {
    const std::scoped_lock held(emulated::machine().lock());
    emulated::machine().peers.clear();
  }
};

void silence(const std::set<int>& gpus) {
  const std::scoped_lock held(emulated::machine().lock());
  emulated::machine().silent = gpus;
}

// A sequence that verifies the guesses of every step, and asks for more.
struct Guessing {
  Prompt p = prompt(9, 0);
  std::vector<TokenId> emitted, row;
  int32_t verified = 0;
  Guessing() {
    for (BlockIndex b = 2; b < 8; ++b) p.blocks.push_back(b);
  }
  Plan plan() const {
    StepRow r = p.row();
    r.draft_next = 2;
    if (emitted.empty()) return {{r}};
    r.tokens = row;
    r.position = 9 + static_cast<int32_t>(emitted.size()) - 1;
    r.state.emitted = static_cast<int32_t>(emitted.size());
    r.drafts = static_cast<int32_t>(row.size()) - 1;
    return {{r}};
  }
  void take(const StepRowResult& result) {
    ASSERT_TRUE(result.status.ok());
    emitted.insert(emitted.end(), result.tokens.begin(), result.tokens.end());
    verified += static_cast<int32_t>(row.size());
    row = {emitted.back()};
    row.insert(row.end(), result.drafts.begin(), result.drafts.end());
  }
  void steps(Engine& engine, int count) {
    for (int i = 0; i < count; ++i) {
      const auto result = engine.step(plan());
      ASSERT_TRUE(result.ok()) << result.error().text();
      take(result->rows[0]);
    }
  }
};

TEST(NcclGroup, steps_that_guess_draw_what_threads_of_one_process_draw) {
  Pair two(settings(Duration::seconds(60)));
  ASSERT_TRUE(two.leader.ok()) << two.leader.error().text();
  Guessing over_nccl, by_threads;
  over_nccl.steps(**two.leader, 7);  // said, recorded, replayed
  by_threads.steps(*make(settings(Duration::seconds(60))), 7);
  EXPECT_EQ(over_nccl.emitted, by_threads.emitted);
  EXPECT_GT(over_nccl.verified, 7);
}

TEST(NcclGroup, a_process_that_hangs_ends_a_step_that_verifies_guesses) {
  Pair two(settings(Duration::seconds(15)));
  ASSERT_TRUE(two.leader.ok()) << two.leader.error().text();
  Guessing sequence;
  sequence.steps(**two.leader, 2);
  silence({1});
  const auto hung = (*two.leader)->step(sequence.plan());
  silence({});
  ASSERT_FALSE(hung.ok());
  EXPECT_EQ(hung.error().code, Code::unavailable) << hung.error().text();
  EXPECT_FALSE((*two.leader)->step(sequence.plan()).ok()) << "a broken group stays broken";
  // The other one has steps on its GPU that wait for ever, and ends all the same.
  two.leader = Error{};
  two.follower.join();
  EXPECT_FALSE(two.followed.ok());
}

}  // namespace
}  // namespace fathom
