#include "tests/load/groups/requests.h"

#include <algorithm>

#include "tests/load/groups/narrow_engine.h"
#include "tests/sim/world/violation.h"
#include "tests/unit/worker/stage.h"

namespace fathom::load {

using sim::require;

Request request_of(uint64_t id, int32_t vocab, sim::Dice& dice) {
  Request r{.submit = {.id = {id}}};
  Submit& submit = r.submit;
  // Some are long enough for the expanded form of attention, some begin like others.
  submit.prompt_tokens = dice.chance(0.15) ? dice.count(64, 76) : dice.count(1, 40);
  const int32_t stem = dice.count(0, 2), common = dice.chance(0.5) ? 20 : 0;
  for (int32_t i = 0; i < submit.prompt_tokens; ++i)
    submit.tokens.push_back(i < common ? (i * 37 + stem * 101 + 11) % vocab
                                       : static_cast<TokenId>(dice.between(0, vocab - 1)));
  Sampling& s = submit.sampling;
  s = {.temperature = dice.chance(0.5) ? 0.0f : 1.0f, .seed = dice.roll()};
  s.max_tokens = dice.chance(0.2) ? dice.count(1, 8) : dice.count(16, 36);
  if (dice.chance(0.3)) s.logprobs = dice.count(0, 3);
  if (dice.chance(0.1)) s.prompt_logprobs = dice.count(0, 2);
  if (dice.chance(0.15)) s.repetition_penalty = 1.3f;
  if (dice.chance(0.15)) s.frequency_penalty = 0.4f;
  if (dice.chance(0.3))
    for (TokenId t = dice.count(0, 15); t < vocab; t += 16) s.stop_tokens.push_back(t);
  if (dice.chance(0.2)) s.min_tokens = std::min(6, s.max_tokens);
  return r;
}

Told told_alone(Engine& engine, const Submit& submit) {
  stage::Wire unused;
  stage::Node node(unused, {.prefix_cache = false},
                   std::make_unique<NarrowEngine>(engine, kBlocksMax, false));
  const SeqId seq{1};
  node.say({Prefill{.seq = seq,
                    .tokens = submit.tokens,
                    .prompt_tokens = submit.prompt_tokens,
                    .sampling = submit.sampling,
                    .blocks = blocks_for(submit.prompt_tokens + submit.sampling.max_tokens,
                                         engine.info().kv.block_tokens),
                    .lease = submit.sampling.max_tokens}});
  node.settle();
  Told out;
  for (Report& report : node.reports) {
    require(report.failed.empty(), "a request fails alone", submit.id.value);
    for (Row& row : report.rows) {
      std::ranges::move(row.tokens, std::back_inserter(out.tokens));
      std::ranges::move(row.logprobs, std::back_inserter(out.logprobs));
      std::ranges::move(row.prompt_logprobs, std::back_inserter(out.prompt_logprobs));
      if (row.finish != Finish::none) out.finish = row.finish;
    }
  }
  return out;
}

}  // namespace fathom::load
