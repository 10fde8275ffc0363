// Where does expanded attention keep what it works on? In images of shared memory: pieces of 64
// columns (128 bytes of bf16), row under row, 16-byte chunks swizzled as wgmma reads them, so that
// a tile comes in by plain bulk copies. Tiles of 128 positions begin at multiples of 128 of their
// run. Plain arithmetic: kernels and tests on the CPU share it.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm/layout.h"

namespace fathom::cuda::flash {

inline constexpr int kRows = 128;  // positions of a tile, query rows of a block
inline constexpr int kNope = 128, kRope = 64, kValue = 128, kRank = 512;
inline constexpr int kPieceColumns = 64;    // of bf16: 128 bytes
inline constexpr int kPiece = kRows * 128;  // bytes of 128 rows of a piece
inline constexpr int kLatentPieces = kRank / kPieceColumns;
inline constexpr int64_t kLatentImage = int64_t{kLatentPieces} * kPiece;  // of a tile
inline constexpr int64_t kRopeImage = kPiece;              // of a tile, for all heads
inline constexpr int64_t kPartImage = 2 * kPiece;          // keys or values of a tile and head
inline constexpr int64_t kHeadImage = 2 * kPartImage;      // keys, then values
inline constexpr int64_t kWeightImage = 2 * kLatentImage;  // a head's rows of kv_b: keys', values'

// Byte of the 16-byte chunk `chunk` (0 .. 8 * pieces - 1) of row `row` in an image of `rows` rows.
constexpr FATHOM_BOTH int chunk_place(int rows, int row, int chunk) {
  return chunk / 8 * rows * 128 + row * 128 + (chunk % 8 ^ row % 8) * 16;
}

constexpr FATHOM_BOTH int tiles_of(int context) { return (context + kRows - 1) / kRows; }

// Work item `index` of blocks x heads: kTogether heads at a time go through all blocks of query
// rows, the last block (which sees the most) first. Blocks of a head that run at one time share its
// keys in the L2 cache.
struct Item {
  int head = 0, block = 0;
};
constexpr FATHOM_BOTH Item item_at(int index, int heads, int blocks) {
  constexpr int kTogether = 16;
  const int band = index / (kTogether * blocks), first = band * kTogether;
  const int wide = gemm::smaller(kTogether, heads - first);
  const int within = index - first * blocks;
  return {first + within % wide, blocks - 1 - within / wide};
}

// Which item a thread block takes in its `round`: to and fro, so who had the longest of one round
// has the shortest of the next. With falling lengths all end together (16 heads of 4096 rows on 132
// blocks: 63 tiles each, instead of 48 to 80).
constexpr FATHOM_BOTH int item_of_round(int round, int block, int grid) {
  return round * grid + (round % 2 == 0 ? block : grid - 1 - block);
}

// First `i` with before[i + 1] > index: whose the index is, where before[] are sums from 0.
constexpr FATHOM_BOTH int owner_of(const int32_t* before, int count, int index) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (before[middle + 1] > index)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

}  // namespace fathom::cuda::flash
