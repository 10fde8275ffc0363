// What do the threads of a block share? Shared memory, the barriers that have numbers, and for each
// warp the meetings at which lanes exchange values.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "tests/gpu/emulator/races.h"
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
  SharedGathering told;  // this turn, where races are watched for
};

struct NumberedBarrier {
  uint32_t expected = 0, arrived = 0;
  uint64_t turn = 0;
  SharedGathering told;
};

inline constexpr uint32_t kSharedBegin = 1024;  // the system keeps the first kilobyte on Hopper
inline constexpr uint32_t kSharedLimit = 227 * 1024;
inline constexpr uint32_t kSharedRoom = 256 * 1024;

// All of it lies side by side, so that an address tells whether it is shared.
struct SharedMemory {
  SharedMemory();
  ~SharedMemory();
  std::byte* bytes;  // kSharedRoom of them
};
inline constexpr size_t kSharedRooms = 4096;
extern std::byte* const all_shared_memory;
inline bool is_shared_memory(const void* at) {
  return static_cast<size_t>(static_cast<const std::byte*>(at) - all_shared_memory) <
         kSharedRooms * kSharedRoom;
}

struct Block : BlockPlace {
  Grid* grid = nullptr;
  Crew* crew = nullptr;
  uint32_t alive = 0;
  std::unique_ptr<SharedMemory> memory;
  std::vector<std::vector<Meeting>> meetings;  // of each warp
  std::array<NumberedBarrier, 16> barriers;
  std::vector<Warpgroup> warpgroups;  // whole ones and a last one that may be less
  int votes = 0;                      // of __syncthreads_count

  // Bar.sync and bar.arrive: `count` 0 means the whole block. Gives the turn, where races are
  // watched for.
  SharedGathering arrive(uint32_t barrier, uint32_t count);
  void sync(uint32_t barrier, uint32_t count, const char* words);
  void thread_ended();
};

Block& block_of_shared(uint32_t address);

}  // namespace emulated
