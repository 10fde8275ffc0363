// Would an emulated GPU show a mistake, were there one? Each kernel here is right once and wrong
// once: a check that finds nothing in kernels/cuda is worth something only if it finds these.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gpu/emulator/faults/kernels.h"
#include "tests/gpu/emulator/machine.h"

namespace emulated {
namespace {

using testing::Each;
using testing::HasSubstr;

std::vector<float> counting(float first, float step) {
  std::vector<float> values(64);
  for (size_t i = 0; i < 64; ++i) values[i] = first + step * static_cast<float>(i);
  return values;
}

class Faults : public testing::Test {
 protected:
  void SetUp() override { machine().set_up({.gpus = 2}); }
};

TEST_F(Faults, missing_barrier_shows) {
  EXPECT_EQ(reverse(true).values, counting(63, -1));
  EXPECT_NE(reverse(false).values, counting(63, -1));
}

TEST_F(Faults, deadlock_names_the_kernel_and_who_waits) {
  const Outcome outcome = meet_by_half();
  EXPECT_THAT(outcome.failure, HasSubstr("deadlock"));
  EXPECT_THAT(outcome.failure, HasSubstr("64 threads wait"));
  EXPECT_THAT(outcome.failure, HasSubstr("meet_half"));
}

TEST_F(Faults, lanes_that_part_ways_show) {
  const Outcome outcome = shuffle_apart();
  EXPECT_THAT(outcome.failure, HasSubstr("__shfl_xor_sync"));
  EXPECT_THAT(outcome.failure, HasSubstr("__shfl_up_sync"));
}

TEST_F(Faults, copy_that_nobody_waits_for_is_not_there) {
  EXPECT_EQ(read_copied(true).values, counting(0, 1));
  EXPECT_NE(read_copied(false).values, counting(0, 1));
}

TEST_F(Faults, kernel_that_starts_early_and_does_not_wait_reads_what_was_before) {
  EXPECT_THAT(double_after(true).values, Each(2.0f));
  EXPECT_EQ(double_after(false).values, counting(0, 2));
}

TEST_F(Faults, gpu_that_waits_for_no_event_reads_what_was_before) {
  EXPECT_THAT(read_peer(true).values, Each(1.0f));
  EXPECT_EQ(read_peer(false).values, counting(0, 1));
}

TEST_F(Faults, barrier_that_was_not_initialised_is_named) {
  EXPECT_THAT(wait_uninitialised().failure, HasSubstr("was not initialised"));
}

TEST_F(Faults, shared_address_outside_is_named) {
  EXPECT_THAT(store_outside().failure, HasSubstr("outside of the block's 256 bytes"));
}

TEST_F(Faults, drawn_orders_leave_right_kernels_right) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    machine().set_up({.gpus = 2, .seed = seed});
    EXPECT_EQ(reverse(true).values, counting(63, -1)) << seed;
    EXPECT_EQ(read_copied(true).values, counting(0, 1)) << seed;
    EXPECT_THAT(double_after(true).values, Each(2.0f)) << seed;
    EXPECT_THAT(read_peer(true).values, Each(1.0f)) << seed;
  }
}

}  // namespace
}  // namespace emulated
