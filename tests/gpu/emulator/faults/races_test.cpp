// Is a step that was forgotten found in whatever order threads run? Each way to hand shared memory
// over is right once, and wrong once for each step that can be left out: with the machine watching
// for races, every wrong one fails under every seed, and no right one does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gpu/emulator/faults/handovers.h"
#include "tests/gpu/emulator/machine.h"

namespace emulated {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSeeds = 20;

std::string at(const Handover& handover, int slip, uint64_t seed) {
  return std::string(handover.name) + ", slip " + std::to_string(slip) + ", seed " +
         std::to_string(seed);
}

class Races : public testing::Test {
 protected:
  void TearDown() override { machine().set_up({}); }
};

TEST_F(Races, every_forgotten_step_is_found_under_every_seed) {
  for (uint64_t seed = 0; seed <= kSeeds; ++seed)
    for (const Handover& handover : handovers())
      for (int slip = 1; slip <= handover.slips; ++slip) {
        machine().set_up({.gpus = 2, .seed = seed, .races = true});
        // Some orders come to what is wrong in itself before anybody touches the memory.
        EXPECT_THAT(handover.run(slip).failure,
                    AnyOf(HasSubstr("a race"), HasSubstr("a deadlock"),
                          HasSubstr("a barrier that was not initialised")))
            << at(handover, slip, seed);
      }
}

TEST_F(Races, threads_in_turn_make_every_one_a_race) {
  machine().set_up({.gpus = 2, .races = true});
  for (const Handover& handover : handovers())
    for (int slip = 1; slip <= handover.slips; ++slip)
      EXPECT_THAT(handover.run(slip).failure, HasSubstr("a race")) << at(handover, slip, 0);
}

TEST_F(Races, right_kernels_have_none) {
  for (uint64_t seed = 0; seed <= kSeeds; ++seed)
    for (const Handover& handover : handovers()) {
      machine().set_up({.gpus = 2, .seed = seed, .races = true});
      EXPECT_THAT(handover.run(0).failure, IsEmpty()) << at(handover, 0, seed);
    }
}

TEST_F(Races, report_names_both_threads_the_bytes_and_the_kernel) {
  machine().set_up({.gpus = 2, .races = true});
  const std::string report = handovers()[0].run(1).failure;
  EXPECT_THAT(report, HasSubstr("thread 32 of block (0, 0) stores"));
  EXPECT_THAT(report, HasSubstr("thread 31 of block (0, 0) reads"));
  EXPECT_THAT(report, HasSubstr("no barrier and no wait lies between"));
  EXPECT_THAT(report, HasSubstr("block_barrier"));
}

TEST_F(Races, missing_proxy_fence_is_called_that) {
  for (const Handover& handover : handovers())
    if (handover.only_fence != 0) {
      machine().set_up({.gpus = 2, .races = true});
      EXPECT_THAT(handover.run(handover.only_fence).failure, HasSubstr("no fence.proxy.async"));
    }
}

TEST_F(Races, nobody_watches_unless_asked) {
  machine().set_up({.gpus = 2});
  for (const Handover& handover : handovers())
    for (int slip = 1; slip <= handover.slips; ++slip)
      EXPECT_THAT(handover.run(slip).failure, testing::Not(HasSubstr("a race")));
}

}  // namespace
}  // namespace emulated
