// How are products of bf16 taken with matrix tiles (AMX)? Sixteen weight rows by 32 columns are one
// tile, loaded from the matrix as it is stored; activations are packed once per call as the other
// factor, sixteen tokens side by side. An element of y is summed over k in one fixed order, 32
// columns at a time, whatever rows and tokens share its tiles, so nothing but its own row and
// channel can change its bits.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace fathom {

inline constexpr int32_t kTileEdge = 16;  // weight rows, and tokens, of a tile
inline constexpr int32_t kTileCols = 32;
inline constexpr int32_t kTilePanel = 32;  // weight rows that are best multiplied at a time

// How the columns of a weight fall into steps of one tile each. FP8 columns are cut where scale
// blocks end, since each block's sum is scaled on its own; 64 of its columns make two tiles, of
// the lower and the upper halves of each run of 16.
struct TileSteps {
  int32_t cols = 0;
  bool fp8 = false;
  int32_t scale_col = 0;

  static TileSteps of(const Weight& w) {
    const bool fp8 = w.dtype == DType::f8_e4m3;
    return {w.cols, fp8, fp8 ? w.scale_col : 0};
  }
  bool operator==(const TileSteps&) const = default;

  int32_t blocks() const { return (cols + scale_col + kScaleBlock - 1) / kScaleBlock; }
  int32_t block_begin(int32_t b) const { return b == 0 ? 0 : b * kScaleBlock - scale_col; }
  int32_t block_end(int32_t b) const {
    const int32_t end = (b + 1) * kScaleBlock - scale_col;
    return end < cols ? end : cols;
  }
  static int32_t steps_of(int32_t fp8_cols) { return (fp8_cols + 63) / 64 * 2; }
  // The first step of block b; of blocks(): all steps.
  int32_t step_of_block(int32_t b) const {
    if (b == 0) return 0;
    if (b == blocks())
      return step_of_block(b - 1) + steps_of(block_end(b - 1) - block_begin(b - 1));
    return steps_of(block_end(0)) + (b - 1) * 4;
  }
  int32_t count() const {
    return fp8 ? step_of_block(blocks()) : (cols + kTileCols - 1) / kTileCols;
  }
};

// Activations as the tiles take them: [tiles of 16 tokens][steps][16 pairs of columns][width],
// where few tokens make narrow tiles: 1, 4, 8 or 16 tokens wide.
struct TileTokens {
  const uint16_t* data = nullptr;
  TileSteps steps;
  int32_t count = 0;
  int32_t width = kTileEdge;

  static constexpr int64_t tiles(int64_t count) { return (count + kTileEdge - 1) / kTileEdge; }
  static TileTokens of(const TileSteps& steps, int32_t count, const uint16_t* data = nullptr) {
    return {data, steps, count, count == 1 ? 1 : count <= 4 ? 4 : count <= 8 ? 8 : kTileEdge};
  }
  int64_t tile_words() const { return int64_t{steps.count()} * kTileCols * width; }
  int64_t words() const { return tiles(count) * tile_words(); }
  // Tokens of tiles [first, first + n).
  TileTokens some(int32_t first, int32_t n) const {
    const int32_t left = count - first * kTileEdge;
    return {data + first * tile_words(), steps, left < n * kTileEdge ? left : n * kTileEdge, width};
  }
  // So many tiles at a time, that their columns stay in L2 while weights pass.
  int32_t block_tiles() const {
    constexpr int64_t kBlockWords = 512 * 1024;
    const int64_t all = tiles(count), most = kBlockWords / tile_words();
    const int64_t blocks = (all + (most < 4 ? 4 : most) - 1) / (most < 4 ? 4 : most);
    return static_cast<int32_t>((all + blocks - 1) / blocks);
  }
};

struct TilePack {  // one tile of tokens
  const float* const* rows = nullptr;
  int32_t count = 0;  // rows given, at most 16
  int32_t width = kTileEdge;
  TileSteps steps;
  uint16_t* out = nullptr;
};

struct TileProduct {  // y[t, o] = sum_k x[t, k] w[first + o, k] for o in [0, outs)
  TileTokens x;
  Weight w;
  int32_t first = 0;
  int32_t outs = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  void* workspace = nullptr;  // tile_workspace(x.count) bytes
};

struct Tiles {
  void (*pack)(const TilePack&);
  void (*multiply)(const TileProduct&);
  // Nothing but products in registers; returns the number of multiply-adds.
  int64_t (*burst)(int64_t steps, float* sink);
};

int64_t tile_workspace(int32_t tokens);

// Null when the build or the machine lacks AMX with bf16, or the system does not grant its state.
const Tiles* tiles_amx();

}  // namespace fathom
