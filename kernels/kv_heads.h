// Which key-value heads does somebody mean? Some that stand side by side, counted within the
// model's layer: what a rank computes, what a pool holds.
#pragma once

#include <cstdint>

namespace fathom {

struct KvHeads {  // [first, first + count)
  int32_t first = 0, count = 0;
  int32_t end() const { return first + count; }
  bool operator==(const KvHeads&) const = default;
};

}  // namespace fathom
