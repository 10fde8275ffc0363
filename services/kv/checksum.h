// Did a block arrive as it left? XXH3-64 of its bytes travels with it; a difference is DATA_LOSS at
// the receiver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fathom {

uint64_t block_checksum(std::span<const std::byte> bytes);

}  // namespace fathom
