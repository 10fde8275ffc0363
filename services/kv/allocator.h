// Who owns which block? Every block of a worker's pool is free or belongs to exactly one sequence,
// and the sum is always the pool. Taking more than is free, or giving back what is not owned, is
// our own mistake (the router's account promised otherwise) and stops the process.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace fathom {

class BlockPool {
 public:
  explicit BlockPool(int32_t blocks);

  // Adds n blocks to what `seq` owns; returns all it owns, in the order taken. Valid until its next
  // take or give_back. CHECKs that n are free.
  std::span<const BlockIndex> take(SeqId seq, int32_t n);
  // Frees all blocks of `seq`; CHECKs that it owns some. The block freed last is taken first (it is
  // warm).
  void give_back(SeqId seq);
  // Empty for a sequence that owns nothing.
  std::span<const BlockIndex> owned(SeqId seq) const;

  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t total() const { return total_; }
  int32_t owners() const { return static_cast<int32_t>(owned_.size()); }

 private:
  int32_t total_;
  std::vector<BlockIndex> free_;  // a stack
  std::unordered_map<SeqId, std::vector<BlockIndex>> owned_;
};

}  // namespace fathom
