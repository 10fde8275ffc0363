// Where does everything stand in a tiled product? Which thread holds which output, where the copy
// engine's swizzle puts a byte, how K is cut into parts and how outputs are cut into tiles. Plain
// arithmetic: kernels and tests on the CPU share it.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FATHOM_BOTH __host__ __device__
#else
#define FATHOM_BOTH
#endif

namespace fathom::cuda::gemm {

inline constexpr int kSlabRows = 64;  // weight rows of one wgmma
inline constexpr int kBlockDepth =
    128;  // k that share an FP8 scale; parts of K begin on a multiple

constexpr FATHOM_BOTH int up_div(int a, int b) { return (a + b - 1) / b; }
constexpr FATHOM_BOTH int smaller(int a, int b) { return a < b ? a : b; }

// Accumulator i of thread t of a warpgroup is the product of weight row `slab_row` and token
// `slab_token` of the 64 x N tile.
constexpr FATHOM_BOTH int slab_row(int t, int i) {
  return t / 32 * 16 + t % 32 / 4 + (i / 2 % 2) * 8;
}
constexpr FATHOM_BOTH int slab_token(int t, int i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

// Byte b (0 .. 127) of row r after TMA with 128-byte swizzle: 16-byte pieces change places.
constexpr FATHOM_BOTH int swizzled(int r, int b) {
  return r * 128 + ((b / 16) ^ (r % 8)) * 16 + b % 16;
}

// Clusters of `parts` thread blocks, one block a multiprocessor, that surely run at one time on an
// H100 or H200: a cluster stays within a group of multiprocessors, of which six have 16 and two
// have 18.
constexpr FATHOM_BOTH int clusters_at_once(int parts) {
  return 6 * (16 / parts) + 2 * (18 / parts);
}

// K of a narrow weight is cut into parts that are summed apart and then added in ascending order,
// so that few weight rows still give every multiprocessor a part. The number depends on the weight
// alone: a row of x gives the same bits in every batch. It is the smallest of those that leave the
// fewest k to a part, while 128 weight rows a block still run at one time.
constexpr FATHOM_BOTH int parts_of(int rows, int cols) {
  const int tiles = up_div(rows, 2 * kSlabRows), blocks = up_div(cols, kBlockDepth);
  int best = 1;
  for (int parts = 2; parts <= 8; ++parts)
    if (tiles <= clusters_at_once(parts) && blocks / parts >= 2 &&
        up_div(blocks, parts) < up_div(blocks, best))
      best = parts;
  return best;
}
// Rounds that tiles of tile_rows x tile_tokens take when two blocks of a pair share one, 66 pairs
// at a time.
constexpr FATHOM_BOTH int waves(int rows, int tokens, int tile_rows, int tile_tokens) {
  return up_div(up_div(rows, tile_rows) * up_div(tokens, tile_tokens), 66);
}
// Whether parts in clusters finish 128 x 128 tiles sooner than parts one after the other.
constexpr FATHOM_BOTH bool parts_together(int rows, int cols, int tokens) {
  const int parts = parts_of(rows, cols), blocks = up_div(cols, kBlockDepth);
  if (parts == 1) return false;
  const int tiles = up_div(rows, 2 * kSlabRows) * up_div(tokens, 128);
  return up_div(tiles, clusters_at_once(parts)) * up_div(blocks, parts) <=
         waves(rows, tokens, 256, 128) * blocks;
}
// First block of 128 k of a part; part `parts` is the end.
constexpr FATHOM_BOTH int part_begin(int blocks, int parts, int part) {
  return static_cast<int>(int64_t{blocks} * part / parts);
}

// Outputs of a tile are finished by the blocks of a cluster, `each` tokens a block: the block of a
// token below 256, by a multiplication.
constexpr FATHOM_BOTH uint32_t reciprocal(int each) {
  return 65536u / static_cast<uint32_t>(each) + 1;
}
constexpr FATHOM_BOTH int owner_of(int token, uint32_t reciprocal_each) {
  return static_cast<int>(static_cast<uint32_t>(token) * reciprocal_each >> 16);
}

// The place of tile `index` among row_tiles x token_tiles: 16 tiles of weight rows at a time go
// through all tokens, so tiles computed at one time share both operands in the L2 cache.
struct TilePlace {
  int row_tile = 0, token_tile = 0;
};
constexpr FATHOM_BOTH TilePlace tile_place(int index, int row_tiles, int token_tiles) {
  constexpr int kBand = 16;
  const int band = index / (kBand * token_tiles);
  const int first = band * kBand;
  const int wide = smaller(kBand, row_tiles - first);
  const int within = index - first * token_tiles;
  return {first + within % wide, within / wide};
}

}  // namespace fathom::cuda::gemm
