// What happened in this seed? fathom_sim --seed 42 --verbose; or --from 1 --to 1000 to search.
#include <iostream>

#include "tests/seeds/seed_arguments.h"
#include "tests/sim/world/world.h"

int main(int argc, char** argv) {
  fathom::SeedArguments arguments(argc, argv);
  const auto seeds = arguments.seeds({.from = 1, .to = 1000});
  const bool verbose = arguments.flag("--verbose");
  if (!seeds || !arguments.all_taken()) {
    std::cerr << "usage: fathom_sim [--seed N | --from N --to N] [--verbose]\n";
    return 2;
  }
  const auto [from, to] = *seeds;
  int failures = 0;
  fathom::sim::Outcome sum;
  for (uint64_t seed = from; seed <= to; ++seed) {
    if (verbose) std::cout << "seed " << seed << std::endl;
    const auto outcome = fathom::sim::run_seed(seed, verbose && from == to ? &std::cout : nullptr);
    sum.events += outcome.events;
    sum.tokens += outcome.tokens;
    sum.preemptions += outcome.preemptions;
    sum.recoveries += outcome.recoveries;
    sum.transfer_failures += outcome.transfer_failures;
    sum.stalled += outcome.stalled;
    sum.finished += outcome.finished;
    sum.failed += outcome.failed;
    if (!outcome.violation) continue;
    ++failures;
    std::cout << "FAILED " << *outcome.violation << std::endl;
  }
  std::cout << to - from + 1 << " seeds, " << failures << " failed; " << sum.events << " events, "
            << sum.tokens << " tokens, " << sum.preemptions << " gave way, " << sum.recoveries
            << " recoveries, " << sum.transfer_failures << " transfer failures, " << sum.stalled
            << " given up, " << sum.finished << " requests finished, " << sum.failed << " failed"
            << std::endl;
  return failures == 0 ? 0 : 1;
}
