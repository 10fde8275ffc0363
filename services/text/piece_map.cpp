#include "text/piece_map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>

namespace fathom {

PieceMap::PieceMap(const std::vector<Entry>& entries) {
  slots_.resize(std::bit_ceil(std::max<size_t>(entries.size() * 2, 16)), Entry{{}, -1});
  for (const Entry& entry : entries) {
    size_t at = XXH3_64bits(entry.bytes.data(), entry.bytes.size()) & (slots_.size() - 1);
    while (slots_[at].id >= 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = entry;
  }
}

TokenId PieceMap::find(std::string_view piece) const {
  size_t at = XXH3_64bits(piece.data(), piece.size()) & (slots_.size() - 1);
  while (slots_[at].id >= 0 && slots_[at].bytes != piece) at = (at + 1) & (slots_.size() - 1);
  return slots_[at].id;
}

}  // namespace fathom
