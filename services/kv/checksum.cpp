#include "kv/checksum.h"

#include <xxhash.h>

namespace fathom {

uint64_t block_checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace fathom
