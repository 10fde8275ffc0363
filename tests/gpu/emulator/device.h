// What does device code see of the emulator? Where the running thread is, and functions. How they
// work stands behind them, so that kernels are not compiled again when it changes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tests/gpu/emulator/vectors.h"

namespace emulated {

struct BlockPlace {
  uint3 index = {};
  uint32_t rank = 0;  // in its cluster
  dim3 block_shape, grid_shape;
};
struct ThreadPlace {
  uint3 index = {};
  uint32_t linear = 0;  // within the block
  const BlockPlace* where = nullptr;

  uint32_t lane() const { return linear % 32; }
  uint32_t warp() const { return linear / 32; }
};
// Of the running thread. Device code runs in one thread of the host at a time (stream.h).
extern const ThreadPlace* here;

inline const uint3& threadIdx() { return here->index; }
inline const uint3& blockIdx() { return here->where->index; }
inline const dim3& blockDim() { return here->where->block_shape; }
inline const dim3& gridDim() { return here->where->grid_shape; }

// First in every kernel: its name, and the most threads of a block (0: not said).
void enter(const char* name, int most_threads);
// The kernel is wrong: it ends here and its stream fails with these words.
[[noreturn]] void fault(const char* what);

// The words that all lanes of `mask` give at this exchange.
const std::array<uint64_t, 32>& exchange(uint32_t mask, const char* what, uint64_t word);
void warp_sync(uint32_t mask);

// Barriers with numbers; `count` 0 means the whole block.
void block_sync(uint32_t barrier, uint32_t count);
void block_arrive(uint32_t barrier, uint32_t count);
// All threads of a cluster arrive, and then each waits.
void cluster_arrive();
void cluster_wait();
uint32_t cluster_blocks();

// Shared addresses are 32 bits: the place in the block, and above it 1 + the rank of another block.
inline constexpr int kRankShift = 24;
uint32_t shared_address_of(const void* p);
// The host's memory behind `bytes` at a shared address; a fault where there is none.
std::byte* at_shared(uint32_t address, uint32_t bytes);
// The same, for the running thread to read or to store there now.
enum class Access : uint8_t { read, write, atomic };
std::byte* touch_shared(uint32_t address, uint32_t bytes, Access how);
// fence.proxy.async: what the running thread knows of is shown to copies and tensor cores.
void proxy_fence();
void* in_other_block(const void* mine, uint32_t rank);

// For who watches for races: the running thread is about to change what may be shared memory.
void touch_atomically(const void* at, uint32_t bytes);

std::byte* shared_place(const void* key, uint32_t bytes, uint32_t alignment);
std::byte* dynamic_place();
template <class T>
T& shared_variable() {
  static const char key = 0;
  return *reinterpret_cast<T*>(shared_place(&key, sizeof(T), alignof(T)));
}
template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(dynamic_place());
}

}  // namespace emulated
