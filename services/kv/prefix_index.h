// Which block already holds the KV of this prompt's beginning? A forest over the pool's blocks: a
// node is a block full of prompt tokens, its parent the block before it. A block is found by its
// parent and its own tokens, both compared in full, so two different prompts can never be taken for
// each other, whatever the hash does. Invariant: every node is reached from a root, so a block
// whose beginning is gone is gone as well. Who may be written or reused is kv/allocator.h.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace fathom {

// Prompts of different scopes share nothing: their bits differ, or their owners want it so.
using PrefixScope = uint64_t;

class PrefixIndex {
 public:
  PrefixIndex(int32_t blocks, int32_t block_tokens);

  int32_t block_tokens() const { return block_tokens_; }
  int32_t size() const { return static_cast<int32_t>(by_hash_.size()); }
  bool contains(BlockIndex block) const { return node(block).here; }
  // The block that holds `tokens` (a whole block of them) after `parent`, or at the beginning when
  // parent is -1; -1 when there is none.
  BlockIndex find(PrefixScope scope, BlockIndex parent, std::span<const TokenId> tokens) const;
  // False, and nothing changes, when another block has the same place or the same hash.
  bool insert(PrefixScope scope, BlockIndex parent, std::span<const TokenId> tokens,
              BlockIndex block);
  // Removes it and everything after it; they are appended to `removed`.
  void remove(BlockIndex block, std::vector<BlockIndex>& removed);

 private:
  struct Node {
    uint64_t hash = 0;
    PrefixScope scope = 0;
    BlockIndex parent = -1;
    BlockIndex child = -1;  // one of those after it; the others are its siblings
    BlockIndex before = -1, next = -1;
    bool here = false;
  };

  Node& node(BlockIndex block) { return nodes_[static_cast<size_t>(block)]; }
  const Node& node(BlockIndex block) const { return nodes_[static_cast<size_t>(block)]; }
  std::span<TokenId> tokens_of(BlockIndex block);
  std::span<const TokenId> tokens_of(BlockIndex block) const;
  void detach(BlockIndex block);

  int32_t block_tokens_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  // block_tokens of each block
  std::unordered_map<uint64_t, BlockIndex> by_hash_;
};

}  // namespace fathom
