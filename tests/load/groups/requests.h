// What do the clients of a load ask, and what were they told? Requests drawn from a seed, with
// everything that makes a draw depend on others or ends a sequence early; and what came of each.
#pragma once

#include <cstdint>
#include <vector>

#include "contract/serve.h"
#include "engine/engine.h"
#include "tests/sim/world/dice.h"

namespace fathom::load {

// What a client hears of its request.
struct Told {
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs, prompt_logprobs;
  Finish finish = Finish::none;
  bool operator==(const Told&) const = default;
};

struct Request {
  Submit submit;
  int32_t arrives = 0;  // in this round
  int32_t leaves = -1;  // the client cancels in this round; -1: it waits for the end
  Told told;
  bool over = false;
};

// Fits into 14 blocks of 8 positions.
Request request_of(uint64_t id, int32_t vocab, sim::Dice& dice);

// What it is told when nothing runs beside it and no step is begun ahead.
Told told_alone(Engine& engine, const Submit& submit);

}  // namespace fathom::load
