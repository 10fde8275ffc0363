#include "kv/allocator.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace fathom {

BlockPool::BlockPool(int32_t blocks, int32_t block_tokens)
    : total_(blocks),
      uses_(static_cast<size_t>(blocks)),
      links_(static_cast<size_t>(blocks) + 1),
      index_(blocks, block_tokens) {
  empty_.reserve(static_cast<size_t>(blocks));
  for (BlockIndex b = blocks - 1; b >= 0; --b) empty_.push_back(b);
  links_.back() = {.before = total_, .next = total_};
}

void BlockPool::append(BlockIndex block) {
  Link& ring = links_.back();
  links_[static_cast<size_t>(block)] = {.before = ring.before, .next = total_};
  links_[static_cast<size_t>(ring.before)].next = block;
  ring.before = block;
}

void BlockPool::unlink(BlockIndex block) {
  Link& self = links_[static_cast<size_t>(block)];
  links_[static_cast<size_t>(self.before)].next = self.next;
  links_[static_cast<size_t>(self.next)].before = self.before;
  self = {};
}

void BlockPool::hold(BlockIndex block) {
  if (idle(block)) unlink(block);
  held_ += uses_[static_cast<size_t>(block)]++ == 0;
  ++uses_in_all_;
}

void BlockPool::release(BlockIndex block) {
  --uses_in_all_;
  if (--uses_[static_cast<size_t>(block)] > 0) return;
  --held_;
  if (index_.contains(block))
    append(block);
  else
    empty_.push_back(block);
}

// What follows it can not be found any more either; blocks of it that have an owner stay with him.
void BlockPool::forget_oldest() {
  removed_.clear();
  index_.remove(links_.back().next, removed_);
  for (const BlockIndex block : removed_) {
    if (!idle(block)) continue;
    unlink(block);
    empty_.push_back(block);
  }
}

std::span<const BlockIndex> BlockPool::take(SeqId seq, int32_t n) {
  CHECK(n >= 0 && n <= free(),
        "take " + std::to_string(n) + " of " + std::to_string(free()) + " free blocks");
  if (n == 0) return owned(seq);
  auto& blocks = owned_[seq];
  for (int32_t i = 0; i < n; ++i) {
    if (empty_.empty()) forget_oldest();
    hold(blocks.emplace_back(empty_.back()));
    empty_.pop_back();
  }
  return blocks;
}

void BlockPool::give_back(SeqId seq) {
  const auto at = owned_.find(seq);
  CHECK(at != owned_.end(), "sequence " + std::to_string(seq.value) + " owns no blocks");
  for (size_t i = at->second.size(); i-- > 0;) release(at->second[i]);
  owned_.erase(at);
}

std::span<const BlockIndex> BlockPool::owned(SeqId seq) const {
  const auto at = owned_.find(seq);
  return at == owned_.end() ? std::span<const BlockIndex>()
                            : std::span<const BlockIndex>(at->second);
}

std::vector<BlockIndex> BlockPool::shareable(PrefixScope scope,
                                             std::span<const TokenId> tokens) const {
  std::vector<BlockIndex> out;
  const auto unit = static_cast<size_t>(index_.block_tokens());
  for (BlockIndex at = -1; tokens.size() >= unit; tokens = tokens.subspan(unit)) {
    at = index_.find(scope, at, tokens.first(unit));
    if (at < 0) break;
    out.push_back(at);
  }
  return out;
}

std::span<const BlockIndex> BlockPool::share(SeqId seq, std::span<const BlockIndex> prefix) {
  if (prefix.empty()) return owned(seq);
  // All are held before any is let go.
  for (const BlockIndex block : prefix) {
    CHECK(index_.contains(block), "only published blocks are shared");
    hold(block);
  }
  auto& blocks = owned_[seq];
  const size_t replaced = std::min(blocks.size(), prefix.size());
  for (size_t i = replaced; i-- > 0;) release(blocks[i]);
  std::copy_n(prefix.begin(), replaced, blocks.begin());
  blocks.insert(blocks.end(), prefix.begin() + static_cast<std::ptrdiff_t>(replaced), prefix.end());
  return blocks;
}

void BlockPool::publish(SeqId seq, PrefixScope scope, std::span<const TokenId> tokens) {
  const std::span<const BlockIndex> blocks = owned(seq);
  const auto unit = static_cast<size_t>(index_.block_tokens());
  const size_t count = std::min(tokens.size() / unit, blocks.size());
  BlockIndex parent = -1;
  for (size_t i = 0; i < count; ++i) {
    const auto part = tokens.subspan(i * unit, unit);
    BlockIndex at = index_.find(scope, parent, part);
    // Another sequence may have computed the same: then its block is the one that others find.
    if (at < 0) {
      at = blocks[i];
      if (index_.contains(at) || !index_.insert(scope, parent, part, at)) return;
    }
    parent = at;
  }
}

int32_t BlockPool::freed_by(std::span<const SeqId> sequences) const {
  std::vector<BlockIndex> blocks;
  for (const SeqId seq : sequences) {
    const auto mine = owned(seq);
    blocks.insert(blocks.end(), mine.begin(), mine.end());
  }
  std::ranges::sort(blocks);
  int32_t freed = 0;
  for (size_t i = 0, end = 0; i < blocks.size(); i = end) {
    while (end < blocks.size() && blocks[end] == blocks[i]) ++end;
    freed += static_cast<int32_t>(end - i) == uses_[static_cast<size_t>(blocks[i])];
  }
  return freed;
}

}  // namespace fathom
