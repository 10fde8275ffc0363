#include "tests/gpu/emulator/ptx.h"

#include <cuda.h>

#include <algorithm>
#include <cstring>

#include "tests/gpu/emulator/grid.h"
#include "tests/gpu/emulator/machine.h"

namespace ptx {

using emulated::Access;
using emulated::at_shared;
using emulated::Block;
using emulated::fault;
using emulated::now;
using emulated::Races;
using emulated::watched_races;

namespace {

// The 64 bits of a barrier, as this emulator uses them.
struct Barrier {
  uint64_t phase : 1, mark : 7, count : 14, pending : 14;
  int64_t bytes : 28;  // expected and not yet there; negative when they come first
};
static_assert(sizeof(Barrier) == 8);
constexpr uint64_t kMark = 0x2D;

Barrier& barrier_at(uint32_t address) {
  if (address % 8 != 0) fault("a barrier that is not 8-byte aligned");
  auto& b = *reinterpret_cast<Barrier*>(emulated::touch_shared(address, 8, Access::atomic));
  if (b.mark != kMark) fault("a barrier that was not initialised, or was overwritten");
  return b;
}

void perhaps_complete(emulated::Crew& crew, Barrier& b) {
  if (b.pending != 0 || b.bytes != 0) return;
  ++crew.progress;
  if (crew.races != nullptr) crew.races->phase_ends(&b);
  b.phase ^= 1;
  b.pending = b.count;
}

void arrive(emulated::Crew& crew, Barrier& b) {
  if (b.pending == 0) fault("more arrivals at a barrier than its count");
  b.pending -= 1;
  perhaps_complete(crew, b);
}

void complete(emulated::Crew& crew, Barrier& b, uint32_t bytes) {
  b.bytes -= bytes;
  perhaps_complete(crew, b);
}

// From another thread's copies: addresses as that thread said them, in its block.
uint32_t as_of(const Block& block, uint32_t address) {
  return address >> emulated::kRankShift != 0 ? address
                                              : address | (block.rank + 1) << emulated::kRankShift;
}

// Where byte `place` of a box that begins at `address` lies with 128-byte swizzle: bits 4 to 6 of
// the address change with bits 7 to 9.
uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

void check_map(const CUtensorMap& map, uint32_t rank) {
  if (map.magic != kTensorMapMagic || map.rank != rank)
    fault("a copy by something that is no tensor map");
}

// Calls each(byte of the box, memory or null outside of the tensor, bytes) row by row.
template <class Each>
void walk_box(const CUtensorMap& map, const std::array<int32_t, 3>& at, const Each& each) {
  const auto element = map.strides[0];
  const uint32_t row_bytes = map.box[0] * static_cast<uint32_t>(element);
  uint32_t byte = 0;
  for (uint32_t k = 0; k < map.box[2]; ++k)
    for (uint32_t j = 0; j < map.box[1]; ++j) {
      const int64_t y = at[1] + int64_t{j}, z = at[2] + int64_t{k};
      const bool row_there = y >= 0 && z >= 0 && y < static_cast<int64_t>(map.shape[1]) &&
                             z < static_cast<int64_t>(map.shape[2]);
      for (uint32_t i = 0; i < map.box[0]; ++i) {
        const int64_t x = at[0] + int64_t{i};
        const bool there = row_there && x >= 0 && x < static_cast<int64_t>(map.shape[0]);
        std::byte* memory = there ? map.base + static_cast<uint64_t>(x) * element +
                                        static_cast<uint64_t>(y) * map.strides[1] +
                                        static_cast<uint64_t>(z) * map.strides[2]
                                  : nullptr;
        // Elements of a row that are there lie side by side: 16 bytes go at once where they can.
        const auto run = static_cast<uint32_t>(16 / element);
        const bool whole =
            i % run == 0 && x >= 0 && row_there && x + run <= static_cast<int64_t>(map.shape[0]);
        if (whole) {
          each(byte + i * static_cast<uint32_t>(element), memory, 16u);
          i += run - 1;
        } else {
          each(byte + i * static_cast<uint32_t>(element), memory, static_cast<uint32_t>(element));
        }
      }
      byte += row_bytes;
    }
}

uint32_t box_bytes(const CUtensorMap& map) {
  return map.box[0] * map.box[1] * map.box[2] * static_cast<uint32_t>(map.strides[0]);
}

void touch_global(const std::byte* at, size_t bytes, Access how) {
  if (Races* races = watched_races()) races->touch_global(at, bytes, how, now->said);
}

// What a copy touches must be there: a map may promise more memory than there is.
void touch_memory(const CUtensorMap& map, const std::array<int32_t, 3>& at, Access how) {
  const int64_t first = std::max(at[0], 0);
  const int64_t last = std::min(int64_t{at[0]} + map.box[0], static_cast<int64_t>(map.shape[0]));
  if (first >= last) return;
  const auto inside = [&](int64_t place, int d) {
    return place >= 0 && place < static_cast<int64_t>(map.shape[d]);
  };
  for (int64_t z = at[2]; z < at[2] + int64_t{map.box[2]}; ++z)
    for (int64_t y = at[1]; y < at[1] + int64_t{map.box[1]}; ++y) {
      if (!inside(y, 1) || !inside(z, 2)) continue;
      const std::byte* const row = map.base + static_cast<uint64_t>(first) * map.strides[0] +
                                   static_cast<uint64_t>(y) * map.strides[1] +
                                   static_cast<uint64_t>(z) * map.strides[2];
      const uint64_t bytes = static_cast<uint64_t>(last - first) * map.strides[0];
      if (!emulated::machine().holds(row, bytes))
        fault("a tensor copy of row " + std::to_string(y) + " touches what is in no memory");
      touch_global(row, bytes, how);
    }
}

// Bytes that an asynchronous copy, begun now, will put there before `barrier` counts them.
void counted_copy(const std::byte* to, uint32_t bytes, const Barrier* barrier, bool async) {
  if (Races* races = watched_races())
    races->touch(to, bytes, Access::write, races->counted_by(barrier, async));
}

void copy_box(uint32_t to, const CUtensorMap& map, const std::array<int32_t, 3>& at,
              uint32_t barrier) {
  if (to % 128 != 0) fault("a tensor copy to a place that is not 128-byte aligned");
  if (map.strides[0] == 0) fault("a copy by something that is no tensor map");
  barrier_at(barrier);
  at_shared(to, box_bytes(map));
  touch_memory(map, at, Access::read);
  to = as_of(*now->block, to);
  barrier = as_of(*now->block, barrier);
  const std::byte* target = at_shared(to, box_bytes(map));
  Barrier* arrivals = &barrier_at(barrier);
  counted_copy(target, box_bytes(map), arrivals, true);
  const uint32_t place = to & ((1u << emulated::kRankShift) - 1);
  emulated::later(false, [map, at, place, base = const_cast<std::byte*>(target) - place, arrivals,
                          crew = now->block->crew] {
    walk_box(map, at, [&](uint32_t byte, const std::byte* memory, uint32_t bytes) {
      std::byte* put = base + (map.swizzled ? swizzled(place + byte) : place + byte);
      if (memory != nullptr)
        std::memcpy(put, memory, bytes);
      else
        std::memset(put, 0, bytes);
    });
    complete(*crew, *arrivals, box_bytes(map));
  });
}

const CUtensorMap& map_at(uint64_t address) {
  return *reinterpret_cast<const CUtensorMap*>(address);
}

}  // namespace

uint64_t special_globaltimer() {
  return static_cast<uint64_t>(emulated::machine().clock().count());
}
void nanosleep_u32(int) { emulated::let_other_gpus_run(); }

void griddepcontrol_wait() {
  const emulated::Grid& grid = *now->block->grid;
  emulated::wait_until("the kernel before", [&] { return grid.previous_has_ended(); });
}

void griddepcontrol_launch_dependents() {
  now->block->grid->may_start_dependents(*now->block);
  if (now->block->crew->paused) emulated::let_others_run();
}

void mbarrier_init_shared_cta_b64(uint32_t barrier, uint32_t count) {
  if (barrier % 8 != 0) fault("a barrier that is not 8-byte aligned");
  auto& b = *reinterpret_cast<Barrier*>(emulated::touch_shared(barrier, 8, Access::write));
  if (Races* races = watched_races()) races->init(&b);
  b = {.phase = 0, .mark = kMark, .count = count, .pending = count, .bytes = 0};
}

void mbarrier_arrive_shared_cluster_b64(uint32_t barrier) {
  Barrier& b = barrier_at(barrier);
  if (Races* races = watched_races()) races->arrive(&b);
  arrive(*now->block->crew, b);
}

void mbarrier_arrive_expect_tx_shared_cta_b64(uint32_t barrier, uint32_t bytes) {
  Barrier& b = barrier_at(barrier);
  if (Races* races = watched_races()) races->arrive(&b);
  b.bytes += bytes;
  arrive(*now->block->crew, b);
}

void mbarrier_try_wait_parity_shared_cta_b64(bool& done, uint32_t barrier, uint32_t parity) {
  const Barrier& b = barrier_at(barrier);
  emulated::wait_until("an mbarrier", [&] { return b.phase != parity; });
  if (Races* races = watched_races()) races->waited(&b);
  done = true;
}

void setmaxnreg_inc_sync_aligned_u32(int registers) {
  if (registers % 8 != 0 || registers < 24 || registers > 256)
    fault("setmaxnreg takes multiples of 8 from 24 to 256");
  emulated::exchange(~0u, "setmaxnreg", static_cast<uint64_t>(registers));
}

void st_async_shared_cluster_mbarrier_complete_tx_bytes_b32(uint32_t to, uint32_t v,
                                                            uint32_t barrier) {
  now->said = __builtin_return_address(0);
  if (to >> emulated::kRankShift != barrier >> emulated::kRankShift)
    fault("st.async: the word and its barrier are in different blocks");
  if (to % 4 != 0) fault("a shared address that is not aligned");
  auto* word = reinterpret_cast<uint32_t*>(at_shared(to, 4));
  Barrier* b = &barrier_at(barrier);
  counted_copy(reinterpret_cast<std::byte*>(word), 4, b, false);
  emulated::Crew* crew = now->block->crew;
  emulated::later(false, [=] {
    *word = v;
    complete(*crew, *b, 4);
  });
}

void cp_async_bulk_tensor_2d_shared_cluster_global_tile_mbarrier_complete_tx_bytes(
    uint32_t to, uint64_t map, const Place2& place, uint32_t barrier) {
  now->said = __builtin_return_address(0);
  check_map(map_at(map), 2);
  copy_box(to, map_at(map), {static_cast<int32_t>(*place[0]), static_cast<int32_t>(*place[1]), 0},
           barrier);
}

void cp_async_bulk_tensor_2d_shared_cluster_global_tile_mbarrier_complete_tx_bytes_multicast_cluster(
    uint32_t to, uint64_t map, const Place2& place, uint32_t barrier, uint16_t blocks) {
  now->said = __builtin_return_address(0);
  check_map(map_at(map), 2);
  const uint32_t mine = (1u << emulated::kRankShift) - 1;
  for (uint32_t b = 0; b < 16; ++b)
    if ((blocks >> b & 1) != 0) {
      const uint32_t rank = (b + 1) << emulated::kRankShift;
      copy_box((to & mine) | rank, map_at(map),
               {static_cast<int32_t>(*place[0]), static_cast<int32_t>(*place[1]), 0},
               (barrier & mine) | rank);
    }
}

void cp_async_bulk_tensor_3d_shared_cluster_global_tile_mbarrier_complete_tx_bytes_L2_cache_hint(
    uint32_t to, uint64_t map, const Place3& place, uint32_t barrier, uint64_t) {
  now->said = __builtin_return_address(0);
  check_map(map_at(map), 3);
  copy_box(to, map_at(map),
           {static_cast<int32_t>(*place[0]), static_cast<int32_t>(*place[1]),
            static_cast<int32_t>(*place[2])},
           barrier);
}

void cp_async_bulk_shared_cluster_global_mbarrier_complete_tx_bytes(uint32_t to, uint64_t from,
                                                                    uint32_t bytes,
                                                                    uint32_t barrier) {
  now->said = __builtin_return_address(0);
  const auto* source = reinterpret_cast<const std::byte*>(from);
  if (to % 16 != 0 || from % 16 != 0 || bytes % 16 != 0)
    fault("a bulk copy of other than whole, aligned pieces of 16 bytes");
  if (!emulated::machine().holds(source, bytes)) fault("a bulk copy from outside of all memory");
  touch_global(source, bytes, Access::read);
  std::byte* target = at_shared(to, bytes);
  Barrier* b = &barrier_at(barrier);
  counted_copy(target, bytes, b, true);
  emulated::Crew* crew = now->block->crew;
  emulated::later(false, [=] {
    std::memcpy(target, source, bytes);
    complete(*crew, *b, bytes);
  });
}

void cp_async_bulk_tensor_2d_global_shared_cta_tile_bulk_group(uint64_t map_address,
                                                               const Place2& place, uint32_t from) {
  now->said = __builtin_return_address(0);
  const CUtensorMap& map = map_at(map_address);
  check_map(map, 2);
  if (from % 128 != 0) fault("a tensor store from a place that is not 128-byte aligned");
  const std::byte* base = at_shared(from, box_bytes(map)) - from;
  const std::array<int32_t, 3> at = {static_cast<int32_t>(*place[0]),
                                     static_cast<int32_t>(*place[1]), 0};
  touch_memory(map, at, Access::write);
  if (Races* races = watched_races())
    races->touch(base + from, box_bytes(map), Access::read,
                 races->stores(now->stores_committed + 1));
  const auto group = now->open_stores;
  ++*group;
  emulated::Crew* crew = now->block->crew;
  emulated::later(true, [map, at, base, from, group, crew] {
    walk_box(map, at, [&](uint32_t byte, std::byte* memory, uint32_t bytes) {
      if (memory != nullptr)
        std::memcpy(memory, base + (map.swizzled ? swizzled(from + byte) : from + byte), bytes);
    });
    --*group;
    ++crew->progress;
  });
}

void cp_async_bulk_commit_group() {
  now->stores.push_back(now->open_stores);
  ++now->stores_committed;
  now->open_stores = std::make_shared<uint32_t>(0);
}

void cp_async_bulk_wait_group_read(int pending) {
  emulated::Thread& self = *now;
  emulated::wait_until("its bulk stores", [&self, pending] {
    for (size_t i = 0; i + static_cast<size_t>(pending) < self.stores.size(); ++i)
      if (*self.stores[i] != 0) return false;
    return true;
  });
  while (!self.stores.empty() && *self.stores.front() == 0) self.stores.pop_front();
  const auto left = static_cast<emulated::Epoch>(pending);
  if (Races* races = watched_races(); races != nullptr && self.stores_committed > left)
    races->know(races->stores(self.stores_committed - left));
}

void cp_async_cg_shared_global(uint32_t to, uint64_t from, int bytes, uint32_t given) {
  now->said = __builtin_return_address(0);
  if (bytes != 16 || given > 16 || to % 16 != 0 || (given > 0 && from % 16 != 0))
    fault("cp.async.cg copies 16 aligned bytes");
  const auto* source = reinterpret_cast<const std::byte*>(from);
  if (given > 0 && !emulated::machine().holds(source, given))
    fault("cp.async from outside of all memory");
  touch_global(source, given, Access::read);
  std::byte* target = at_shared(to, 16);
  emulated::Thread* self = now;
  ++self->copies;
  if (Races* races = watched_races())
    races->touch(target, 16, Access::write, races->copies(++self->copies_said));
  emulated::later(true, [=] {
    if (given > 0) std::memcpy(target, source, given);
    std::memset(target + given, 0, 16 - given);
    --self->copies;
    ++self->block->crew->progress;
  });
}

void cp_async_mbarrier_arrive_noinc_shared_cta_b64(uint32_t barrier) {
  Barrier* b = &barrier_at(barrier);
  Races* const races = watched_races();
  Races::Beside copies = {};
  if (races != nullptr) copies = races->copies(now->copies_said);
  emulated::later(true, [b, races, copies, crew = now->block->crew] {
    if (races != nullptr) races->arrive(b, copies);
    arrive(*crew, *b);
  });
}

void cp_async_wait_all() {
  const emulated::Thread& self = *now;
  emulated::wait_until("its copies", [&] { return self.copies == 0; });
  if (Races* races = watched_races()) races->know(races->copies(self.copies_said));
}

}  // namespace ptx
