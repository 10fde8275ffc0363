// What do the threads of a block share? Shared memory, the barriers that have numbers, and for each
// warp the meetings at which lanes exchange values.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "tests/gpu/emulator/thread.h"
#include "tests/gpu/emulator/warpgroup.h"

namespace emulated {

struct Crew;
struct Grid;

// The lanes of `mask` exchange a word each. A lane can be one exchange ahead of the others, not
// more: hence two sets of slots.
struct Meeting {
  uint32_t mask = 0, arrived = 0;
  uint64_t turn = 0;
  const char* what = "";
  std::array<std::array<uint64_t, 32>, 2> slots = {};
};

struct NumberedBarrier {
  uint32_t expected = 0, arrived = 0;
  uint64_t turn = 0;
};

inline constexpr uint32_t kSharedBegin = 1024;  // the system keeps the first kilobyte on Hopper
inline constexpr uint32_t kSharedLimit = 227 * 1024;
inline constexpr uint32_t kSharedRoom = 256 * 1024;

struct SharedMemory {
  SharedMemory();
  ~SharedMemory();
  std::byte* bytes;  // kSharedRoom of them
};

struct Block {
  Grid* grid = nullptr;
  Crew* crew = nullptr;
  uint3 index = {};
  uint32_t rank = 0;  // in its cluster
  uint32_t alive = 0;
  std::unique_ptr<SharedMemory> memory;
  std::vector<std::vector<Meeting>> meetings;  // of each warp
  std::array<NumberedBarrier, 16> barriers;
  std::vector<Warpgroup> warpgroups;  // whole ones and a last one that may be less
  int votes = 0;  // of __syncthreads_count

  // Bar.sync and bar.arrive: `count` 0 means the whole block.
  void arrive(uint32_t barrier, uint32_t count);
  void sync(uint32_t barrier, uint32_t count, const char* words);
  void thread_ended();
};

// The slots of all lanes of `mask` at this exchange, after each has given its word.
const std::array<uint64_t, 32>& exchange(uint32_t mask, const char* what, uint64_t word);

// ---- shared memory ----

// Shared addresses are 32 bits: the place in the block, and above it 1 + the rank of another block.
inline constexpr int kRankShift = 24;
uint32_t shared_address_of(const void* p);
// The host's memory behind `bytes` at a shared address; a fault where there is none.
std::byte* at_shared(uint32_t address, uint32_t bytes);
Block& block_of_shared(uint32_t address);
void* in_other_block(const void* mine, uint32_t rank);

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
