// The price of a placement is counted in prompt tokens that would be computed before it or because
// of it.
#include "batching/placement.h"

#include <algorithm>

namespace fathom {
namespace {

// Moving the KV of a token costs about an eighth of computing it: 1.6 us at 45 GB/s against 13 us
// for a 671 B model on 8 GPUs. The same order holds for small models on CPUs.
constexpr int64_t kComputedPerMoved = 8;
// A home whose memory is full weighs as much as a prefill backlog of so many tokens.
constexpr int64_t kFullHomeTokens = 4096;
// Far above any backlog: only when nothing else is left.
constexpr int64_t kAvoided = int64_t{1} << 40;

struct Search {
  const PlacementNeed& need;
  const PlacementRules& rules;

  bool last_token() const { return need.total - need.tokens <= 1; }

  // Nobody comes in while somebody there waits for blocks to go on.
  bool room(const WorkerView& w, int32_t blocks, bool computes) const {
    if (w.draining || &w == rules.claimed_home || &w == rules.claimed_prefill) return false;
    if (rules.as_if_empty) return true;
    if (!w.wanting.empty()) return false;
    if (w.rows() >= w.rows_max || blocks > w.blocks.free()) return false;
    return !computes || w.uncomputed == 0 || w.uncomputed + need.tokens <= rules.uncomputed_max;
  }

  // A home keeps a little free for the growth of those it already runs.
  bool home_room(const WorkerView& w, int32_t blocks, bool computes) const {
    if (!room(w, blocks, computes)) return false;
    if (rules.as_if_empty || w.sequences.empty()) return true;
    return blocks <= w.blocks.free() - w.blocks.capacity() / 32;
  }

  Grant grant_at(const WorkerView& w) const {
    const int32_t end = std::min(need.total, w.longest());
    const int32_t upto = first_grant(need.tokens, end, need.lease_tokens);
    return {.upto = upto, .end = end, .blocks = blocks_for(upto, w.block_tokens())};
  }

  // It must hold one full lease at least, or everything.
  bool long_enough(const WorkerView& w) const {
    return w.longest() >= std::min(need.total, need.tokens + std::max(2, need.lease_tokens));
  }

  int64_t compute_price(const WorkerView& w) const {
    return w.uncomputed + w.rows() + (w.id == need.avoid_prefill ? kAvoided : 0);
  }
  int64_t home_price(const WorkerView& w, int32_t blocks) const {
    const int64_t used = int64_t{w.blocks.reserved()} + blocks;
    return kFullHomeTokens * used / std::max(1, w.blocks.capacity()) +
           (w.id == need.avoid_home ? kAvoided : 0);
  }
};

struct Priced {
  WorkerView* worker = nullptr;
  int64_t price = 0;
};

// The two cheapest of one role, so that a pair of different workers can always be made if there is
// one.
struct TwoBest {
  Priced first, second;
  void offer(WorkerView* worker, int64_t price) {
    if (!first.worker || price < first.price) {
      second = first;
      first = {worker, price};
    } else if (!second.worker || price < second.price) {
      second = {worker, price};
    }
  }
};

// One worker for all: it decodes what it computed, or there is at most one token to emit.
Priced best_alone(const Workers& workers, const Search& search) {
  Priced best;
  for (WorkerView* w : workers) {
    const bool able = w->prefills() && (w->decodes() || search.last_token());
    if (!able || !search.long_enough(*w)) continue;
    const int32_t blocks = search.grant_at(*w).blocks;
    if (!search.home_room(*w, blocks, true)) continue;
    const int64_t price = search.compute_price(*w) + search.home_price(*w, blocks);
    if (!best.worker || price < best.price) best = {w, price};
  }
  return best;
}

struct PricedPair {
  WorkerView* prefill = nullptr;
  WorkerView* home = nullptr;
  int64_t price = 0;
};

PricedPair best_pair(const Workers& workers, const Search& search) {
  TwoBest prefills, homes;
  for (WorkerView* w : workers) {
    const int32_t needed = search.need.tokens + 1;
    if (w->prefills() && w->longest() >= needed &&
        search.room(*w, blocks_for(needed, w->block_tokens()), true)) {
      prefills.offer(w, search.compute_price(*w));
    }
    if (w->decodes() && search.long_enough(*w)) {
      const int32_t blocks = search.grant_at(*w).blocks;
      if (search.home_room(*w, blocks, false)) homes.offer(w, search.home_price(*w, blocks));
    }
  }
  PricedPair best;
  for (const Priced& p : {prefills.first, prefills.second}) {
    for (const Priced& d : {homes.first, homes.second}) {
      if (!p.worker || !d.worker || p.worker == d.worker) continue;
      const int64_t price = p.price + d.price + search.need.tokens / kComputedPerMoved;
      if (!best.home || price < best.price) best = {p.worker, d.worker, price};
    }
  }
  return best;
}

}  // namespace

std::optional<PlacementChoice> choose_placement(const Workers& workers, const PlacementNeed& need,
                                                const PlacementRules& rules) {
  const Search search{need, rules};
  const Priced alone = best_alone(workers, search);
  PricedPair pair;
  if (!search.last_token()) pair = best_pair(workers, search);
  if (alone.worker && (!pair.home || alone.price <= pair.price)) {
    return PlacementChoice{.home = alone.worker, .grant = search.grant_at(*alone.worker)};
  }
  if (!pair.home) return std::nullopt;
  return PlacementChoice{
      .home = pair.home,
      .prefill = pair.prefill,
      .prefill_blocks = blocks_for(need.tokens + 1, pair.prefill->block_tokens()),
      .grant = search.grant_at(*pair.home)};
}

LongestSequence longest_sequence(const Workers& workers) {
  LongestSequence longest;
  for (const WorkerView* w : workers) {
    if (w->draining) continue;
    if (w->prefills()) longest.prefill = std::max(longest.prefill, w->longest());
    if (w->decodes()) longest.home = std::max(longest.home, w->longest());
  }
  return longest;
}

}  // namespace fathom
