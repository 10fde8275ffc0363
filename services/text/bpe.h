// Which tokens is this piece? Byte-pair encoding over bytes: start with one token per byte, then
// join the pair of lowest rank, leftmost first, until no pair is known. Short pieces are searched
// linearly; long ones use a heap, so a piece of n bytes costs O(n log n) whatever it holds.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace fathom {

struct Merge {
  TokenId left = 0, right = 0, result = 0;
};

class Bpe {
 public:
  // Rank is the index in `merges`; of equal pairs the last one counts.
  Bpe(const std::array<TokenId, 256>& byte_tokens, const std::vector<Merge>& merges);

  // Working memory of one caller.
  struct Scratch {
    std::vector<TokenId> ids;
    std::vector<uint32_t> ranks, next, previous;
    std::vector<uint64_t> heap;
  };
  // Appends the tokens of the piece; its length is below 2^32.
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const;
  // The same for symbols that are not bytes: those in scratch.ids.
  void merge(Scratch& scratch, std::vector<TokenId>& out) const;

 private:
  struct Slot {
    uint64_t pair = UINT64_MAX;
    uint32_t rank = 0;
    TokenId result = 0;
  };
  const Slot* find(TokenId left, TokenId right) const;
  uint32_t rank(TokenId left, TokenId right) const;
  void encode_short(Scratch& scratch, std::vector<TokenId>& out) const;
  void encode_long(Scratch& scratch, std::vector<TokenId>& out) const;

  std::array<TokenId, 256> byte_tokens_;
  std::vector<Slot> slots_;  // open addressing, a quarter full at most
  int shift_ = 0;
};

}  // namespace fathom
