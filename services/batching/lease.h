// For how many tokens may a sequence run, and what does that cost in blocks? Pure arithmetic over
// positions. A sequence of n tokens with a lease of l is granted the positions below n + l, and its
// home holds blocks_for(n + l) blocks for it: the grant never ends beyond the blocks, nor beyond
// `end`.
#pragma once

#include <algorithm>
#include <cstdint>

#include "contract/drive.h"

namespace fathom {

// What a sequence holds at its home.
struct Grant {
  int32_t upto = 0;  // it may grow to so many tokens
  int32_t end =
      0;  // and never beyond these: max_tokens, the context, what the home can hold at all
  int32_t blocks = 0;  // reserved for it
};

struct Extension {
  int32_t lease = 0;
  int32_t blocks = 0;
};

inline int32_t first_grant(int32_t tokens, int32_t end, int32_t lease_tokens) {
  return std::min(end, tokens + lease_tokens);
}

// Asked when less than half a lease is left, so the answer comes while the worker still runs.
inline bool wants_more(const Grant& grant, int32_t tokens, int32_t lease_tokens) {
  return grant.upto < grant.end && 2 * (grant.upto - tokens) < lease_tokens;
}

// The largest extension up to one lease that `free` blocks allow. Lease 0: not one token more fits.
// What is left of the last block held costs nothing.
inline Extension extend(const Grant& grant, int32_t lease_tokens, int32_t free,
                        int32_t block_tokens) {
  const int64_t room = int64_t{grant.blocks + free} * block_tokens - grant.upto;
  const int64_t wanted = std::min(lease_tokens, grant.end - grant.upto);
  const int32_t lease = static_cast<int32_t>(std::max<int64_t>(0, std::min(room, wanted)));
  return {.lease = lease, .blocks = blocks_for(grant.upto + lease, block_tokens) - grant.blocks};
}

}  // namespace fathom
