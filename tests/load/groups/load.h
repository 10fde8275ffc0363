// What does a group go through in one load? Everything is drawn from a seed: requests that arrive
// and are cancelled at any moment, prompts in chunks, leases that run out, a KV pool too small for
// all, so that sequences give way and are computed again; edits and reports that travel for a
// while. The router's own brain drives the workers' own loops. Every accepted request must end
// once, with the tokens and log-probabilities it has when computed alone, and leave no block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/load/groups/group.h"

namespace fathom::load {

struct Outcome {
  uint64_t requests = 0, tokens = 0;
  uint64_t cancelled = 0;  // and so ended before their end
  uint64_t stopped = 0;    // by a stop token
  uint64_t gave_way = 0;   // for lack of blocks
  uint64_t ahead = 0;      // rows that went on from a draw in flight
  uint64_t right = 0;      // guesses that were verified
  // Requests in which one rank alone takes another of two near tokens, or experts.
  uint64_t rounded = 0;
  std::optional<std::string> violation;

  void add(const Outcome& other);
};

Outcome run_load(Group& group, uint64_t seed);

}  // namespace fathom::load
