// Does any of thousands of worlds break a promise? Each seed is another cluster, load and set of
// faults. A seed that once failed is listed with what it found.
#include <gtest/gtest.h>

#include <cstdint>
#include <iostream>

#include "tests/sim/world/world.h"

namespace fathom::sim {
namespace {

constexpr uint64_t kSeeds = 5000;
constexpr uint64_t kCrowded = 100;
constexpr uint64_t kSpeculating = 1000;
constexpr uint64_t kStalling = 1000;

// A CHECK of the Batcher itself ends the program: `fathom_sim --from 1 --to 5000 --verbose` names
// its seed.
Outcome search(uint64_t from, uint64_t count) {
  Outcome sum;
  for (uint64_t seed = from; seed < from + count; ++seed) {
    const Outcome outcome = run_seed(seed);
    EXPECT_FALSE(outcome.violation)
        << *outcome.violation << "; replay: fathom_sim --seed " << seed << " --verbose";
    sum.tokens += outcome.tokens;
    sum.preemptions += outcome.preemptions;
    sum.recoveries += outcome.recoveries;
    sum.transfer_failures += outcome.transfer_failures;
    sum.stalled += outcome.stalled;
  }
  return sum;
}

TEST(sim, no_crowded_world_breaks_a_promise) {
  const Outcome sum = search(kCrowdedSeeds, kCrowded);
  std::cout << kCrowded << " crowded seeds, " << sum.tokens << " tokens\n";
  EXPECT_GT(sum.preemptions, kCrowded);
}

// Several tokens in a row of a report, up to the lease and never beyond.
TEST(sim, no_world_of_speculating_workers_breaks_a_promise) {
  const Outcome sum = search(kSpeculatingSeeds, kSpeculating);
  std::cout << kSpeculating << " speculating seeds, " << sum.tokens << " tokens\n";
  EXPECT_GT(sum.tokens, 100 * kSpeculating);
  EXPECT_GT(sum.recoveries, kSpeculating / 10);
  EXPECT_GT(sum.preemptions, kSpeculating / 10);
}

// Workers that keep their streams and stop stepping, some for ever.
TEST(sim, no_world_of_stalling_workers_breaks_a_promise) {
  const Outcome sum = search(kStallingSeeds, kStalling);
  std::cout << kStalling << " stalling seeds, " << sum.tokens << " tokens, " << sum.stalled
            << " workers given up\n";
  EXPECT_GT(sum.tokens, 100 * kStalling);
  EXPECT_GT(sum.stalled, kStalling / 10);
}

TEST(sim, no_world_breaks_a_promise) {
  const Outcome sum = search(1, kSeeds);
  std::cout << kSeeds << " seeds, " << sum.tokens << " tokens, " << sum.preemptions << " gave way, "
            << sum.recoveries << " recoveries, " << sum.transfer_failures << " transfer failures\n";
  // Worlds in which nothing happens prove nothing.
  EXPECT_GT(sum.tokens, 100 * kSeeds);
  EXPECT_GT(sum.preemptions, kSeeds / 10);
  EXPECT_GT(sum.recoveries, kSeeds / 10);
  EXPECT_GT(sum.transfer_failures, kSeeds / 100);
}

struct Regression {
  uint64_t seed;
  const char* what;
};

// Found by searching further than the test does.
constexpr Regression kRegressions[] = {
    {83, "a request whose answer had begun was refused by a full queue after a router restart"},
    {11628, "requests set aside until a worker joined did not count for their tenant's bound"},
    {28111, "two epochs with the same salt in their sequence ids"},
};

TEST(sim, seeds_that_once_failed_hold) {
  for (const Regression& regression : kRegressions) {
    const Outcome outcome = run_seed(regression.seed);
    EXPECT_FALSE(outcome.violation) << *outcome.violation << "; it once was: " << regression.what;
  }
}

TEST(sim, the_same_seed_gives_the_same_world) {
  for (uint64_t seed : {3u, 14u, 15u}) {
    const Outcome a = run_seed(seed);
    const Outcome b = run_seed(seed);
    EXPECT_EQ(a.events, b.events);
    EXPECT_EQ(a.tokens, b.tokens);
  }
}

}  // namespace
}  // namespace fathom::sim
