#include "kv/allocator.h"

#include <string>

#include "base/check.h"

namespace fathom {

BlockPool::BlockPool(int32_t blocks) : total_(blocks) {
  CHECK(blocks >= 0);
  free_.reserve(static_cast<size_t>(blocks));
  for (BlockIndex b = blocks - 1; b >= 0; --b) free_.push_back(b);
}

std::span<const BlockIndex> BlockPool::take(SeqId seq, int32_t n) {
  CHECK(n >= 0 && n <= free(),
        "take " + std::to_string(n) + " of " + std::to_string(free()) + " free blocks");
  if (n == 0) return owned(seq);
  auto& blocks = owned_[seq];
  for (int32_t i = 0; i < n; ++i) {
    blocks.push_back(free_.back());
    free_.pop_back();
  }
  return blocks;
}

void BlockPool::give_back(SeqId seq) {
  const auto at = owned_.find(seq);
  CHECK(at != owned_.end(), "sequence " + std::to_string(seq.value) + " owns no blocks");
  free_.insert(free_.end(), at->second.begin(), at->second.end());
  owned_.erase(at);
  CHECK(free() <= total_);
}

std::span<const BlockIndex> BlockPool::owned(SeqId seq) const {
  const auto at = owned_.find(seq);
  return at == owned_.end() ? std::span<const BlockIndex>()
                            : std::span<const BlockIndex>(at->second);
}

}  // namespace fathom
