// Which workers run a request? A pure function of what it needs and of what the workers are
// promised already. It only offers what can be reserved now on every side, so a placed request
// never waits for memory in the middle of its prefill. The same inputs give the same answer; ties
// go to the lower worker id.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "batching/worker_view.h"

namespace fathom {

// In order of id.
using Workers = std::vector<WorkerView*>;

struct PlacementNeed {
  int32_t tokens = 0;  // to compute before the next new one
  int32_t total = 0;   // prompt and all it may emit; equal to tokens for scoring only
  int32_t lease_tokens = 0;
  WorkerId avoid_prefill = kNobody;  // lost it before: taken only when nothing else is left
  WorkerId avoid_home = kNobody;
};

struct PlacementRules {
  int64_t uncomputed_max = 0;  // per worker, unless the request would be its only one
  // Kept free for an older request that waits; nobody younger goes there.
  WorkerView* claimed_prefill = nullptr;
  WorkerView* claimed_home = nullptr;
  bool as_if_empty = false;  // for claims: where would it fit if nothing ran
};

struct PlacementChoice {
  WorkerView* home = nullptr;
  WorkerView* prefill = nullptr;  // null: the home computes the prompt itself
  int32_t prefill_blocks = 0;
  Grant grant;  // at the home
};

std::optional<PlacementChoice> choose_placement(const Workers& workers, const PlacementNeed& need,
                                                const PlacementRules& rules);

// The longest sequence that some pair of these workers could hold. 0 when a role is missing.
struct LongestSequence {
  int32_t prefill = 0;  // enough for scoring
  int32_t home = 0;
  int32_t both() const { return std::min(prefill, home); }
};
LongestSequence longest_sequence(const Workers& workers);

}  // namespace fathom
