// What need not be computed because another prompt began alike? A sequence adopts the longest
// published beginning twice: when it comes, so that its prefix is not forgotten for the blocks it
// takes, and again just before its first chunk, when a sequence before it in the same burst may
// have computed it. Prompt positions are published as they are computed; emitted ones never, they
// are computed in another form than a prompt's. So cached blocks hold the very bits that computing
// would give.
#include <algorithm>

#include "worker/loop.h"

namespace fathom {

// Forms of attention that give other bits are scopes of their own.
PrefixScope Loop::scope_of(const Sequence& sequence) const {
  return sequence.prompt_tokens() >= engine_.info().expanded_prompt_min ? 1 : 0;
}

void Loop::adopt_prefix(Sequence& sequence, int32_t blocks_max) {
  if (!config_.prefix_cache || !sequence.untouched()) return;
  const int32_t unit = engine_.info().kv.block_tokens;
  const size_t room = static_cast<size_t>(blocks_max) * static_cast<size_t>(unit);
  const auto tokens = sequence.reusable();
  const auto prefix =
      pool_.shareable(scope_of(sequence), tokens.first(std::min(tokens.size(), room)));
  const auto positions = static_cast<int32_t>(prefix.size()) * unit;
  if (positions <= sequence.cached()) return;
  sequence.adopt(pool_.share(sequence.id(), prefix), positions);
  if (sequence.handoff()) exports_.progress(sequence.id(), positions, sequence.blocks());
}

void Loop::adopt_prefixes() {
  int32_t left = step_token_budget_;  // of this step; who gets none of it looks later
  for (const auto& sequence : sequences_) {
    if (left <= 0) return;
    if (sequence->phase() != Phase::prefilling) continue;
    adopt_prefix(*sequence, static_cast<int32_t>(sequence->blocks().size()));
    left -= sequence->pending();
  }
}

void Loop::publish_prefix(const Sequence& sequence) {
  if (config_.prefix_cache) pool_.publish(sequence.id(), scope_of(sequence), sequence.settled());
}

void Loop::count_prefix(const Sequence& sequence) {
  if (!config_.prefix_cache || sequence.reusable().empty()) return;
  metrics_.prefix_cache_queries.Increment(sequence.prompt_tokens());
  metrics_.prefix_cache_hits.Increment(sequence.cached());
}

}  // namespace fathom
