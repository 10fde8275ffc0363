// What happened in this seed? fathom_sim --seed 42 --verbose; or --from 1 --to 1000 to search.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "tests/sim/world/world.h"

int main(int argc, char** argv) {
  uint64_t from = 1;
  uint64_t to = 1000;
  bool verbose = false;
  for (int i = 1; i < argc; ++i) {
    const auto value = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (std::strcmp(argv[i], "--seed") == 0) {
      from = to = value();
    } else if (std::strcmp(argv[i], "--from") == 0) {
      from = value();
    } else if (std::strcmp(argv[i], "--to") == 0) {
      to = value();
    } else if (std::strcmp(argv[i], "--verbose") == 0) {
      verbose = true;
    } else {
      std::fprintf(stderr, "usage: fathom_sim [--seed N | --from N --to N] [--verbose]\n");
      return 2;
    }
  }
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
