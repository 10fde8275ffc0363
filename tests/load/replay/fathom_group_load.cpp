// What happens in loads beyond those of the test? fathom_group_load --from 1 --to 400, every kind
// of group; --kind 3 for one of them.
#include <iostream>
#include <iterator>

#include "tests/load/groups/load.h"
#include "tests/seeds/seed_arguments.h"

int main(int argc, char** argv) {
  constexpr auto kKinds = std::size(fathom::load::kGroups);
  fathom::SeedArguments arguments(argc, argv);
  const auto seeds = arguments.seeds({.from = 1, .to = 100});
  const auto kind = arguments.number("--kind");
  if (!seeds || kind.value_or(0) >= kKinds || !arguments.all_taken()) {
    std::cerr << "usage: fathom_group_load [--seed N | --from N --to N] [--kind N]\n";
    return 2;
  }
  int failures = 0;
  for (size_t k = 0; k < kKinds; ++k) {
    if (kind.value_or(k) != k) continue;
    fathom::load::Group group(fathom::load::kGroups[k]);
    fathom::load::Outcome sum;
    for (uint64_t seed = seeds->from; seed <= seeds->to; ++seed) {
      const auto outcome = fathom::load::run_load(group, seed);
      sum.add(outcome);
      if (!outcome.violation) continue;
      ++failures;
      std::cout << "FAILED " << *outcome.violation << std::endl;
    }
    std::cout << group.kind().name << ": " << sum.requests << " requests, " << sum.tokens
              << " tokens, " << sum.cancelled << " cancelled, " << sum.stopped << " stopped, "
              << sum.gave_way << " gave way, " << sum.ahead << " rows ahead, " << sum.right
              << " right guesses, " << sum.rounded << " rounded otherwise on one rank" << std::endl;
  }
  return failures == 0 ? 0 : 1;
}
