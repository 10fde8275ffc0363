// Does a round of engines that share experts end when a GPU fails, or hangs, in the midst of what
// is replayed? Kernels of the others wait for it there and no host is asked. Whoever waits for the
// step must hear, by name and within the group's patience, and the group is broken for good.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "engine/expert_group.h"
#include "tests/gpu/emulator/mishaps/mishaps.h"
#include "tests/unit/engine/small_engine.h"

namespace fathom {
namespace {

using Kind = emulated::Mishap::Kind;

// Two ranks, a GPU each; the first has a sequence that decodes, the second lends its experts.
struct Group {
  std::vector<std::unique_ptr<Engine>> engines;
  Prompt p = prompt(9, 0);
  std::vector<TokenId> emitted;

  Group() {
    TpEngineConfig c = config();
    c.device.cuda = true;
    auto made = make_expert_group(c, 2);
    CHECK(made.ok(), made.ok() ? "" : made.error().text());
    engines = std::move(made).value();
    for (BlockIndex b = 2; b < 8; ++b) p.blocks.push_back(b);
  }
  Plan plan() const {
    StepRow r = p.row();
    if (emitted.empty()) return {{r}};
    r.tokens = std::span(emitted).last(1);
    r.position = 9 + static_cast<int32_t>(emitted.size()) - 1;
    r.state.emitted = static_cast<int32_t>(emitted.size());
    return {{r}};
  }
  void step() {
    const auto result = engines[0]->step(plan());
    ASSERT_TRUE(result.ok()) << result.error().text();
    ASSERT_TRUE(result->rows[0].status.ok());
    emitted.push_back(result->rows[0].tokens.at(0));
  }
  // Until both ranks replay: a prompt, and decoding said and recorded.
  void get_going() {
    for (int i = 0; i < 3; ++i) step();
    const uint64_t before = graphs_launched();
    step();
    ASSERT_EQ(graphs_launched(), before + 2);
  }
};

class ReplayedRound : public testing::TestWithParam<std::tuple<int, int>> {
 protected:
  void TearDown() override { cudaGetLastError(); }  // this thread remembers a GPU that is gone
  int gpu() const { return std::get<0>(GetParam()); }
  int after() const { return std::get<1>(GetParam()); }  // pieces of what is replayed

  // How the step ends in which that happens.
  Error end_of_step(Kind kind) {
    Group group;
    group.get_going();
    if (testing::Test::HasFatalFailure()) return {};
    const uint64_t before = graphs_launched();
    const MishapOf mishap(gpu(), kind, after());
    const auto ended = group.engines[0]->step(group.plan());
    EXPECT_TRUE(mishap.happened());
    EXPECT_EQ(graphs_launched(), before + 2) << "the round was replayed";
    EXPECT_FALSE(ended.ok());
    for (const auto& engine : group.engines)
      EXPECT_FALSE(engine->step(group.plan()).ok()) << "a broken group stays broken";
    return ended.ok() ? Error{} : ended.error();
  }
};

TEST_P(ReplayedRound, ends_at_once_where_a_gpu_fails) {
  const Error end = end_of_step(Kind::fails);
  if (gpu() == 0) {
    EXPECT_EQ(end.code, Code::internal) << end.text();
    EXPECT_NE(end.message.find("fallen off the bus"), std::string::npos) << end.text();
  } else {
    EXPECT_EQ(end.code, Code::unavailable) << end.text();
    EXPECT_EQ(end.message, "the GPU of rank 1 failed");
  }
}

TEST_P(ReplayedRound, ends_within_its_patience_where_a_gpu_hangs) {
  const Error end = end_of_step(Kind::hangs);
  EXPECT_EQ(end.code, Code::unavailable) << end.text();
  EXPECT_EQ(end.message, "rank " + std::to_string(gpu()) + " did not come to a collective in time");
}

INSTANTIATE_TEST_SUITE_P(Gpus, ReplayedRound,
                         testing::Combine(testing::Values(0, 1), testing::Values(9)),
                         [](const auto& instance) {
                           return std::to_string(std::get<0>(instance.param)) + "_after_" +
                                  std::to_string(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace fathom
