#include "tests/gpu/emulator/device_functions.h"

#include "tests/gpu/emulator/grid.h"

int __syncthreads_count(int predicate) {
  emulated::Block& block = *emulated::now->block;
  block.votes += predicate != 0;
  block.sync(0, 0, "__syncthreads_count");
  const int count = block.votes;
  block.sync(0, 0, "__syncthreads_count");
  block.votes = 0;
  block.sync(0, 0, "__syncthreads_count");
  return count;
}

uint64_t __float2ull_rz(float v) {
  if (std::isnan(v)) return uint64_t{1} << 63;
  if (v <= 0) return 0;
  if (v >= 0x1p64f) return ~uint64_t{0};
  return static_cast<uint64_t>(v);
}

int __float2int_rn(float v) {
  if (std::isnan(v)) return 0;
  if (v >= 0x1p31f) return INT32_MAX;
  if (v < -0x1p31f) return INT32_MIN;
  return static_cast<int>(std::nearbyintf(v));
}

uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t bytes = uint64_t{high} << 32 | low;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t choice = selector >> (4 * i) & 15;
    auto byte = static_cast<uint32_t>(bytes >> (8 * (choice & 7)) & 0xFF);
    if (choice & 8) byte = byte & 0x80 ? 0xFF : 0;
    out |= byte << (8 * i);
  }
  return out;
}

uint32_t __vmaxu2(uint32_t a, uint32_t b) {
  return std::max(a & 0xFFFFu, b & 0xFFFFu) | std::max(a >> 16, b >> 16) << 16;
}
