#include "kv/prefix_index.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace fathom {
namespace {

uint64_t place_hash(PrefixScope scope, BlockIndex parent, std::span<const TokenId> tokens) {
  const uint64_t seed = scope + static_cast<uint64_t>(int64_t{parent} + 1) * 0x9e3779b97f4a7c15;
  return XXH3_64bits_withSeed(tokens.data(), tokens.size_bytes(), seed);
}

}  // namespace

PrefixIndex::PrefixIndex(int32_t blocks, int32_t block_tokens)
    : block_tokens_(block_tokens), nodes_(static_cast<size_t>(blocks)) {
  CHECK(blocks >= 0 && block_tokens > 0);
  tokens_.resize(static_cast<size_t>(blocks) * static_cast<size_t>(block_tokens));
}

std::span<TokenId> PrefixIndex::tokens_of(BlockIndex block) {
  const auto size = static_cast<size_t>(block_tokens_);
  return std::span(tokens_).subspan(static_cast<size_t>(block) * size, size);
}

std::span<const TokenId> PrefixIndex::tokens_of(BlockIndex block) const {
  const auto size = static_cast<size_t>(block_tokens_);
  return std::span(tokens_).subspan(static_cast<size_t>(block) * size, size);
}

BlockIndex PrefixIndex::find(PrefixScope scope, BlockIndex parent,
                             std::span<const TokenId> tokens) const {
  CHECK(tokens.size() == static_cast<size_t>(block_tokens_));
  const auto at = by_hash_.find(place_hash(scope, parent, tokens));
  if (at == by_hash_.end()) return -1;
  const Node& found = node(at->second);
  const bool same = found.scope == scope && found.parent == parent &&
                    std::ranges::equal(tokens_of(at->second), tokens);
  return same ? at->second : -1;
}

bool PrefixIndex::insert(PrefixScope scope, BlockIndex parent, std::span<const TokenId> tokens,
                         BlockIndex block) {
  CHECK(tokens.size() == static_cast<size_t>(block_tokens_) && !contains(block));
  CHECK(parent < 0 || contains(parent), "a prefix grows from its beginning");
  const uint64_t hash = place_hash(scope, parent, tokens);
  if (!by_hash_.emplace(hash, block).second) return false;
  node(block) = {.hash = hash, .scope = scope, .parent = parent, .here = true};
  std::ranges::copy(tokens, tokens_of(block).begin());
  if (parent < 0) return true;
  const BlockIndex next = std::exchange(node(parent).child, block);
  node(block).next = next;
  if (next >= 0) node(next).before = block;
  return true;
}

void PrefixIndex::detach(BlockIndex block) {
  const Node& self = node(block);
  if (self.next >= 0) node(self.next).before = self.before;
  if (self.before >= 0)
    node(self.before).next = self.next;
  else if (self.parent >= 0)
    node(self.parent).child = self.next;
}

void PrefixIndex::remove(BlockIndex block, std::vector<BlockIndex>& removed) {
  CHECK(contains(block));
  detach(block);
  // Breadth first: `removed` is its own queue.
  size_t at = removed.size();
  removed.push_back(block);
  for (; at < removed.size(); ++at) {
    Node& gone = node(removed[at]);
    for (BlockIndex child = gone.child; child >= 0; child = node(child).next)
      removed.push_back(child);
    by_hash_.erase(gone.hash);
    gone = {};
  }
}

}  // namespace fathom
