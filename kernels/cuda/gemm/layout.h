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

inline constexpr int kSlabRows = 64;    // weight rows of one wgmma
inline constexpr int kBlockDepth = 128;  // k that share an FP8 scale; parts of K begin on a multiple

constexpr FATHOM_BOTH int up_div(int a, int b) { return (a + b - 1) / b; }
constexpr FATHOM_BOTH int smaller(int a, int b) { return a < b ? a : b; }

// Accumulator i of thread t of a warpgroup is the product of weight row `slab_row` and token
// `slab_token` of the 64 x N tile.
constexpr FATHOM_BOTH int slab_row(int t, int i) {
  return t / 32 * 16 + t % 32 / 4 + (i / 2 % 2) * 8;
}
constexpr FATHOM_BOTH int slab_token(int t, int i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

// Byte b (0 .. 127) of row r after TMA with 128-byte swizzle: 16-byte pieces change places.
constexpr FATHOM_BOTH int swizzled(int r, int b) { return r * 128 + ((b / 16) ^ (r % 8)) * 16 + b % 16; }

// K of a narrow weight is cut into parts that are summed apart and then added in ascending order,
// so that few weight rows still give every multiprocessor a part. The number depends on the weight
// alone: a row of x gives the same bits in every batch.
constexpr FATHOM_BOTH int parts_of(int rows, int cols) {
  constexpr int kFill = 136;  // thread blocks that fill the GPU (132), and a few
  const int slabs = up_div(rows, kSlabRows), blocks = up_div(cols, kBlockDepth);
  int parts = 1;
  while (parts < 8 && slabs * parts * 2 <= kFill && blocks / (parts * 2) >= 2) parts *= 2;
  return parts;
}
// First block of 128 k of a part; part `parts` is the end.
constexpr FATHOM_BOTH int part_begin(int blocks, int parts, int part) {
  return static_cast<int>(int64_t{blocks} * part / parts);
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
