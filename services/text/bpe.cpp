#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"

namespace fathom {
namespace {

constexpr uint32_t kNoRank = UINT32_MAX;
constexpr uint32_t kNowhere = UINT32_MAX;
// Up to here the linear search wins: a word of 10 bytes takes about 5 rounds over 10 ranks.
constexpr size_t kShortPiece = 64;

uint64_t pair_of(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t mix(uint64_t pair) { return pair * 0x9E3779B97F4A7C15ULL; }

}  // namespace

Bpe::Bpe(const std::array<TokenId, 256>& byte_tokens, const std::vector<Merge>& merges)
    : byte_tokens_(byte_tokens) {
  const size_t capacity = std::bit_ceil(std::max<size_t>(merges.size() * 4, 16));
  slots_.resize(capacity);
  shift_ = 64 - std::countr_zero(capacity);
  for (size_t i = 0; i < merges.size(); ++i) {
    const uint64_t pair = pair_of(merges[i].left, merges[i].right);
    size_t at = mix(pair) >> shift_;
    while (slots_[at].pair != UINT64_MAX && slots_[at].pair != pair) at = (at + 1) & (capacity - 1);
    slots_[at] = {pair, static_cast<uint32_t>(i), merges[i].result};
  }
}

const Bpe::Slot* Bpe::find(TokenId left, TokenId right) const {
  const uint64_t pair = pair_of(left, right);
  size_t at = mix(pair) >> shift_;
  while (slots_[at].pair != pair) {
    if (slots_[at].pair == UINT64_MAX) return nullptr;
    at = (at + 1) & (slots_.size() - 1);
  }
  return &slots_[at];
}

uint32_t Bpe::rank(TokenId left, TokenId right) const {
  const Slot* slot = find(left, right);
  return slot == nullptr ? kNoRank : slot->rank;
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  if (piece.empty()) return;
  CHECK(piece.size() < kNowhere, "a piece of 4 GiB");
  scratch.ids.resize(piece.size());
  for (size_t i = 0; i < piece.size(); ++i)
    scratch.ids[i] = byte_tokens_[static_cast<unsigned char>(piece[i])];
  merge(scratch, out);
}

void Bpe::merge(Scratch& scratch, std::vector<TokenId>& out) const {
  const size_t size = scratch.ids.size();
  if (size == 0) return;
  CHECK(size < kNowhere, "a piece of 4 Gi symbols");
  scratch.ranks.assign(size, kNoRank);
  for (size_t i = 0; i + 1 < size; ++i) scratch.ranks[i] = rank(scratch.ids[i], scratch.ids[i + 1]);
  if (size <= kShortPiece)
    encode_short(scratch, out);
  else
    encode_long(scratch, out);
}

// ranks[i] is the rank of the pair that begins at symbol i.
void Bpe::encode_short(Scratch& scratch, std::vector<TokenId>& out) const {
  auto& ids = scratch.ids;
  auto& ranks = scratch.ranks;
  size_t count = ids.size();
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i < count; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoRank) break;
    ids[best] = find(ids[best], ids[best + 1])->result;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
    }
    --count;
    ranks[best] = best + 1 < count ? rank(ids[best], ids[best + 1]) : kNoRank;
    if (best > 0) ranks[best - 1] = rank(ids[best - 1], ids[best]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
}

// Symbols are a linked list over the bytes; a heap entry is (rank, position) and is stale unless
// ranks[position] still is that rank. A position that was swallowed has kNoRank, so it never comes
// back.
void Bpe::encode_long(Scratch& scratch, std::vector<TokenId>& out) const {
  auto& ids = scratch.ids;
  auto& ranks = scratch.ranks;
  auto& next = scratch.next;
  auto& previous = scratch.previous;
  auto& heap = scratch.heap;
  const auto count = static_cast<uint32_t>(ids.size());
  next.resize(count);
  previous.resize(count);
  heap.clear();
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kNowhere;
    previous[i] = i > 0 ? i - 1 : kNowhere;
    if (ranks[i] != kNoRank) heap.push_back(static_cast<uint64_t>(ranks[i]) << 32 | i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto update = [&](uint32_t at) {
    ranks[at] = next[at] == kNowhere ? kNoRank : rank(ids[at], ids[next[at]]);
    if (ranks[at] == kNoRank) return;
    heap.push_back(static_cast<uint64_t>(ranks[at]) << 32 | at);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto at = static_cast<uint32_t>(top);
    if (ranks[at] != top >> 32) continue;
    const uint32_t swallowed = next[at];
    ids[at] = find(ids[at], ids[swallowed])->result;
    ranks[swallowed] = kNoRank;
    next[at] = next[swallowed];
    if (next[at] != kNowhere) previous[next[at]] = at;
    update(at);
    if (previous[at] != kNowhere) update(previous[at]);
  }
  for (uint32_t at = 0; at != kNowhere; at = next[at]) out.push_back(ids[at]);
}

}  // namespace fathom
