// Does any load of a group of real engines break a promise? Each kind of group goes through some
// seeds; fathom_group_load searches further. A seed that once failed is listed with what it found.
#include <gtest/gtest.h>

#include <iostream>

#include "tests/load/groups/load.h"

namespace fathom::load {
namespace {

constexpr uint64_t kSeeds = 3;

class GroupLoad : public ::testing::TestWithParam<GroupKind> {};

TEST_P(GroupLoad, every_request_ends_once_with_the_tokens_it_has_alone) {
  Group group(GetParam());
  Outcome sum;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Outcome outcome = run_load(group, seed);
    EXPECT_FALSE(outcome.violation) << *outcome.violation;
    sum.add(outcome);
  }
  std::cout << sum.requests << " requests, " << sum.tokens << " tokens, " << sum.cancelled
            << " cancelled, " << sum.stopped << " stopped, " << sum.gave_way << " gave way, "
            << sum.ahead << " rows ahead, " << sum.right << " right guesses, " << sum.rounded
            << " rounded otherwise on one rank\n";
  // Loads in which nothing happens prove nothing.
  EXPECT_GT(sum.cancelled, 0);
  EXPECT_GT(sum.stopped, 0);
  EXPECT_GT(sum.gave_way, 0);
  EXPECT_GT(GetParam().drafts > 0 ? sum.right : sum.ahead, 20);
  EXPECT_LE(sum.rounded, GetParam().tensor_parallel > 1 ? sum.requests / 20 : 0);
}

INSTANTIATE_TEST_SUITE_P(all, GroupLoad, ::testing::ValuesIn(kGroups), [](const auto& at) {
  std::string name = at.param.name;
  std::ranges::replace(name, ' ', '_');
  return name;
});

}  // namespace
}  // namespace fathom::load
