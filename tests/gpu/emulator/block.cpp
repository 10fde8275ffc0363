#include "tests/gpu/emulator/block.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "tests/gpu/emulator/grid.h"

namespace emulated {
namespace {
constexpr size_t kMostMasks = 16;

std::byte* reserve_shared_memory() {
  void* const memory = mmap(nullptr, kSharedRooms * kSharedRoom, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("shared memory of emulated blocks");
    std::abort();
  }
  return static_cast<std::byte*>(memory);
}

std::vector<std::byte*>& free_rooms() {
  // Never destroyed: rooms come back until the very end.
  static auto* const rooms = [] {
    auto* all = new std::vector<std::byte*>(kSharedRooms);
    for (size_t i = 0; i < kSharedRooms; ++i)
      (*all)[kSharedRooms - 1 - i] = all_shared_memory + i * kSharedRoom;
    return all;
  }();
  return *rooms;
}

}  // namespace

std::byte* const all_shared_memory = reserve_shared_memory();

SharedMemory::SharedMemory() {
  auto& rooms = free_rooms();
  if (rooms.empty()) {
    std::fputs("more blocks at once than the emulator has memory for\n", stderr);
    std::abort();
  }
  bytes = rooms.back();
  rooms.pop_back();
}
SharedMemory::~SharedMemory() { free_rooms().push_back(bytes); }

SharedGathering Block::arrive(uint32_t barrier, uint32_t count) {
  if (barrier >= barriers.size()) fault("there is no barrier " + std::to_string(barrier));
  if (count % 32 != 0) fault("a barrier for a number of threads that is no multiple of 32");
  NumberedBarrier& b = barriers[barrier];
  if (b.arrived == 0)
    b.expected = count;
  else if (b.expected != count)
    fault("threads disagree how many meet at barrier " + std::to_string(barrier));
  if (Races* races = watched_races()) races->arrive(b.told);
  SharedGathering told = b.told;
  ++b.arrived;
  if (b.arrived >= (count != 0 ? count : alive)) {
    b.arrived = 0;
    ++b.turn;
    b.told = nullptr;
  }
  return told;
}

void Block::sync(uint32_t barrier, uint32_t count, const char* words) {
  NumberedBarrier& b = barriers[barrier];
  const uint64_t turn = b.turn;
  const SharedGathering told = arrive(barrier, count);
  wait_until(words, [&] { return b.turn != turn; });
  Races::leave(told);
}

// The barrier of the whole block is for those that are left.
void Block::thread_ended() {
  --alive;
  NumberedBarrier& whole = barriers[0];
  if (whole.arrived > 0 && whole.expected == 0 && whole.arrived >= alive) {
    whole.arrived = 0;
    ++whole.turn;
    whole.told = nullptr;
  }
}

namespace {

const std::array<uint64_t, 32>& meet(uint32_t mask, const char* what, uint64_t word, bool orders) {
  const uint32_t lane = now->lane(), bit = 1u << lane;
  if ((mask & bit) == 0) fault(std::string(what) + " by a lane that its mask leaves out");
  auto& of_warp = now->block->meetings[now->warp()];
  Meeting* meeting = nullptr;
  for (Meeting& m : of_warp)
    if (m.mask == mask) meeting = &m;
  if (meeting == nullptr) {
    if (of_warp.capacity() == 0) of_warp.reserve(kMostMasks);
    if (of_warp.size() == kMostMasks) fault("one warp uses more masks than the emulator keeps");
    meeting = &of_warp.emplace_back();
    meeting->mask = mask;
  }
  Meeting& m = *meeting;
  if (m.arrived == 0) m.what = what;
  if (m.what != what) fault(std::string("lanes of a warp meet at ") + m.what + " and at " + what);
  const uint64_t turn = m.turn;
  m.slots[turn % 2][lane] = word;
  m.arrived |= bit;
  Races* const races = orders ? watched_races() : nullptr;
  if (races != nullptr) races->arrive(m.told);
  const SharedGathering told = races != nullptr ? m.told : nullptr;
  // Lanes beyond the block's last thread do not exist, and count as there.
  const uint32_t threads = static_cast<uint32_t>(now->block->grid->threads());
  const uint32_t left = threads - now->warp() * 32;
  const uint32_t exist = left >= 32 ? ~0u : (1u << left) - 1;
  if (m.arrived == (mask & exist)) {
    m.arrived = 0;
    ++m.turn;
    m.told = nullptr;
  }
  wait_until(what, [&] { return m.turn != turn; });
  Races::leave(told);
  return m.slots[turn % 2];
}

}  // namespace

const std::array<uint64_t, 32>& exchange(uint32_t mask, const char* what, uint64_t word) {
  return meet(mask, what, word, false);
}
void warp_sync(uint32_t mask) { meet(mask, "__syncwarp", 0, true); }

void block_sync(uint32_t barrier, uint32_t count) {
  now->block->sync(barrier, count, "a barrier of its block");
}
void block_arrive(uint32_t barrier, uint32_t count) { now->block->arrive(barrier, count); }

void cluster_arrive() { now->block->crew->arrive(); }
void cluster_wait() {
  const Crew& crew = *now->block->crew;
  if (!now->cluster_arrived) fault("a thread waits for its cluster before it has arrived");
  const uint64_t turn = now->cluster_turn;
  wait_until("the barrier of its cluster", [&] { return crew.cluster_turn != turn; });
  Races::leave(now->cluster_told);
  now->cluster_told = nullptr;
  now->cluster_arrived = false;
}
uint32_t cluster_blocks() { return static_cast<uint32_t>(now->block->crew->blocks.size()); }

uint32_t shared_address_of(const void* p) {
  const auto* at = static_cast<const std::byte*>(p);
  for (const auto& block : now->block->crew->blocks) {
    const std::byte* base = block->memory->bytes;
    if (at < base || at >= base + kSharedRoom) continue;
    const auto place = static_cast<uint32_t>(at - base);
    return block.get() == now->block ? place : place | (block->rank + 1) << kRankShift;
  }
  fault("a shared address of something that is not in shared memory");
}

Block& block_of_shared(uint32_t address) {
  const uint32_t other = address >> kRankShift;
  if (other == 0) return *now->block;
  auto& blocks = now->block->crew->blocks;
  if (other > blocks.size()) fault("shared memory of a block that is not in this cluster");
  return *blocks[other - 1];
}

std::byte* at_shared(uint32_t address, uint32_t bytes) {
  const uint32_t place = address & ((1u << kRankShift) - 1);
  Block& block = block_of_shared(address);
  if (block.alive == 0) fault("shared memory of a block that has ended");
  if (place < kSharedBegin || place + bytes > block.grid->shared_end())
    fault("shared address " + std::to_string(place) + " is outside of the block's " +
          std::to_string(block.grid->shared_end() - kSharedBegin) + " bytes");
  return block.memory->bytes + place;
}

std::byte* touch_shared(uint32_t address, uint32_t bytes, Access how) {
  std::byte* const at = at_shared(address, bytes);
  if (Races* races = watched_races()) races->touch(at, bytes, how, __builtin_return_address(0));
  return at;
}

void* in_other_block(const void* mine, uint32_t rank) {
  const uint32_t place = shared_address_of(mine) & ((1u << kRankShift) - 1);
  return at_shared(place | (rank + 1) << kRankShift, 1);
}

std::byte* shared_place(const void* key, uint32_t bytes, uint32_t alignment) {
  return now->block->memory->bytes + now->block->grid->place_of(key, bytes, alignment);
}
std::byte* dynamic_place() { return now->block->memory->bytes + kSharedBegin; }

}  // namespace emulated
