// Which rows does each expert get, and which block multiplies what? Rows are counted and ordered on
// the device, so nothing is read back; the host knows bounds only. What a block does with the
// counts is arithmetic, kept here for the CPU's tests.
//
// A pair is (token, slot) = token * chosen + slot. Pairs of one expert stand together, in ascending
// order; the row of a pair is its place in that order. An expert's rows are cut into tiles of at
// most `most` rows each, as even as can be, so that a tile's rows are known from the count alone.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

#ifdef __CUDACC__
#define FATHOM_ANYWHERE __host__ __device__
#else
#define FATHOM_ANYWHERE
#endif

namespace fathom::cuda {

// Experts of a call: 32 counts for each fit shared memory.
inline constexpr size_t kMostExperts = 1024;

// On the device; `experts` are those of the call, numbered from 0.
struct ExpertPlan {
  int32_t* begin = nullptr;       // [experts + 1]: first row of each, then all of them
  int32_t* tile_begin = nullptr;  // [experts + 1]: tiles of the experts before
  int32_t* pair = nullptr;        // [pairs]: of a row
  int32_t* row = nullptr;         // [pairs]: of a pair; -1 where it is no expert of the call
};

FATHOM_ANYWHERE constexpr int32_t tiles_of(int32_t rows, int32_t most) {
  return (rows + most - 1) / most;
}
// No routing makes more tiles than this: every expert with rows may have one that is not full.
FATHOM_ANYWHERE constexpr int64_t tiles_bound(int64_t pairs, int64_t experts, int64_t most) {
  const int64_t begun = pairs < experts ? pairs : experts;
  return begun + (pairs - begun) / most;
}

// Tile `tile` of an expert's `rows`: a run of them.
struct RowRun {
  int32_t first, count;
};
FATHOM_ANYWHERE constexpr RowRun run_of(int32_t rows, int32_t most, int32_t tile) {
  const int32_t tiles = tiles_of(rows, most);
  const int32_t size = (rows + tiles - 1) / tiles;
  const int32_t first = tile * size < rows ? tile * size : rows;
  return {first, rows - first < size ? rows - first : size};
}

// How many tokens a tile is computed with: 8, or a multiple of 16 up to 128.
inline constexpr int kWidths = 9;
FATHOM_ANYWHERE constexpr int width_of(int index) { return index == 0 ? 8 : 16 * index; }
// The narrowest that holds `count`.
FATHOM_ANYWHERE constexpr int width_index(int count) { return count <= 8 ? 0 : (count + 15) / 16; }

// The expert a tile belongs to: the last one that begins at or before it.
FATHOM_ANYWHERE constexpr int32_t expert_of(const int32_t* tile_begin, int32_t experts,
                                            int32_t tile) {
  int32_t low = 0, high = experts;  // tile_begin[low] <= tile < tile_begin[high]
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (tile_begin[middle] <= tile ? low : high) = middle;
  }
  return low;
}

// A piece of work: tile `tile` of an expert times its panel `panel` of weight rows. The tiles of
// one panel follow each other, so a panel's weights come out of memory once.
struct ExpertUnit {
  int32_t expert, tile, panel;
};
FATHOM_ANYWHERE constexpr ExpertUnit unit_of(const int32_t* tile_begin, int32_t experts,
                                             int32_t panels, int64_t unit) {
  const int32_t expert = expert_of(tile_begin, experts, static_cast<int32_t>(unit / panels));
  const int32_t tiles = tile_begin[expert + 1] - tile_begin[expert];
  const auto inside = static_cast<int32_t>(unit - int64_t{tile_begin[expert]} * panels);
  return {expert, inside % tiles, inside / tiles};
}

}  // namespace fathom::cuda
