// What happens in loads beyond those of the test? fathom_group_load --from 1 --to 400, every kind
// of group; --kind 3 for one of them.
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>

#include "tests/load/groups/load.h"

int main(int argc, char** argv) {
  uint64_t from = 1, to = 100;
  int kind = -1;
  for (int i = 1; i < argc; ++i) {
    const auto value = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (std::strcmp(argv[i], "--seed") == 0) {
      from = to = value();
    } else if (std::strcmp(argv[i], "--from") == 0) {
      from = value();
    } else if (std::strcmp(argv[i], "--to") == 0) {
      to = value();
    } else if (std::strcmp(argv[i], "--kind") == 0) {
      kind = static_cast<int>(value());
    } else {
      std::cerr << "usage: fathom_group_load [--seed N | --from N --to N] [--kind N]\n";
      return 2;
    }
  }
  int failures = 0;
  for (int k = 0; k < static_cast<int>(std::size(fathom::load::kGroups)); ++k) {
    if (kind >= 0 && k != kind) continue;
    fathom::load::Group group(fathom::load::kGroups[k]);
    fathom::load::Outcome sum;
    for (uint64_t seed = from; seed <= to; ++seed) {
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
