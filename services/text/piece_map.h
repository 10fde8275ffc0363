// Is this whole piece one token? A hash table from bytes to ids over memory it does not own; one
// probe, mostly, for nine pieces of ten.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace fathom {

class PieceMap {
 public:
  struct Entry {
    std::string_view bytes;  // outlives the map
    TokenId id = 0;
  };
  explicit PieceMap(const std::vector<Entry>& entries);
  TokenId find(std::string_view piece) const;  // -1: none

 private:
  std::vector<Entry> slots_;  // open addressing, half full at most
};

}  // namespace fathom
