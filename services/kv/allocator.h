// Who owns which block? Every block of a worker's pool is owned by one or more sequences, or free.
// A free block may still hold a prompt's beginning that a later sequence can share; such blocks are
// taken for other uses only when no empty one is left, the longest unused first. Invariants: blocks
// with an owner + free blocks = the pool; a published block is never written again while anybody
// can reach it. Taking more than is free, or giving back what is not owned, is our own mistake (the
// router's account promised otherwise) and stops the process.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "kv/prefix_index.h"

namespace fathom {

class BlockPool {
 public:
  // block_tokens is the unit in which prompts are shared.
  explicit BlockPool(int32_t blocks, int32_t block_tokens = 1);

  // Adds n blocks to what `seq` owns; returns all it owns, in the order taken. Valid until its next
  // take, share or give_back. CHECKs that n are free.
  std::span<const BlockIndex> take(SeqId seq, int32_t n);
  // `seq` owns its blocks no more. The empty block freed last is taken first (it is warm); of a
  // prefix the end is forgotten before the beginning.
  void give_back(SeqId seq);
  // Empty for a sequence that owns nothing.
  std::span<const BlockIndex> owned(SeqId seq) const;

  // The longest run of published blocks that begins `tokens`.
  std::vector<BlockIndex> shareable(PrefixScope scope, std::span<const TokenId> tokens) const;
  // The first blocks of `seq` become these, which shareable() named just now; those it had in their
  // place, if any, are given back. Returns all it owns.
  std::span<const BlockIndex> share(SeqId seq, std::span<const BlockIndex> prefix);
  // The first blocks of `seq` hold these tokens, and are never written again.
  void publish(SeqId seq, PrefixScope scope, std::span<const TokenId> tokens);

  int32_t free() const { return total_ - held_; }  // what take can give
  int32_t kept() const { return free() - static_cast<int32_t>(empty_.size()); }  // free, published
  int32_t total() const { return total_; }
  int32_t owners() const { return static_cast<int32_t>(owned_.size()); }
  int64_t owned_in_all() const { return uses_in_all_; }  // shared blocks count once per owner
  // How many blocks would be free besides if these gave theirs back. The ids differ.
  int32_t freed_by(std::span<const SeqId> sequences) const;

 private:
  // Published blocks without an owner, in a ring through `total_`: next is the longest unused.
  struct Link {
    BlockIndex before = -1, next = -1;
  };

  void hold(BlockIndex block);
  void release(BlockIndex block);
  void append(BlockIndex block);
  void unlink(BlockIndex block);
  void forget_oldest();
  bool idle(BlockIndex block) const { return links_[static_cast<size_t>(block)].next >= 0; }

  int32_t total_;
  int32_t held_ = 0;  // blocks with an owner
  int64_t uses_in_all_ = 0;
  std::vector<BlockIndex> empty_;  // a stack
  std::vector<int32_t> uses_;      // owners of each block
  std::vector<Link> links_;
  PrefixIndex index_;
  std::vector<BlockIndex> removed_;
  std::unordered_map<SeqId, std::vector<BlockIndex>> owned_;
};

}  // namespace fathom
