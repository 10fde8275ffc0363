// Which tiles has y = x W^T, and where do their results go? One weight, all rows of x: the dense
// instantiation of gemm.cuh.
#pragma once

#include "kernels/cuda/gemm/gemm.cuh"
#include "kernels/cuda/gemm/store.cuh"

namespace fathom::cuda::gemm {

struct Dense {
  static constexpr bool kKnownEarly = true;
  int rows = 0, tokens = 0;            // of W, of x
  int tile_rows = 0, tile_tokens = 0;  // of the Shape
  int row_tiles = 0, token_tiles = 0;
  float* y = nullptr;  // [tokens, rows]
  int64_t y_stride = 0;
  const float* scale = nullptr;  // FP8: [ceil(rows / 128), ceil(cols / 128)]
  int64_t scale_stride = 0;
  int scale_row = 0;                   // of W's first row within its block: 0 or 64
  const float* token_scale = nullptr;  // codes: [ceil(cols / 128), token_scale_stride]
  int64_t token_scale_stride = 0;
  bool y_mapped = false;  // y is aligned as TMA wants it, and y_map describes it
  CUtensorMap y_map = {};

  __device__ int tiles() const { return row_tiles * token_tiles; }
  __device__ Tile tile(int index) const {
    const TilePlace place = tile_place(index, row_tiles, token_tiles);
    const int row = place.row_tile * tile_rows, token = place.token_tile * tile_tokens;
    return {.weight_row = row,
            .token_row = token,
            .rows = rows - row,
            .tokens = tokens - token,
            .scale = scale + (row + scale_row) / kBlockDepth * scale_stride,
            .scale_stride = scale_stride,
            .block_row = (row + scale_row) % kBlockDepth,
            .token_scale = token_scale + token,
            .token_scale_stride = token_scale_stride,
            .out_row = row,
            .out_token = token};
  }
  template <int kTokens>
  __device__ void finish(const Tile& tile, int slab, const float (&sums)[kTokens / 2]) const {
    const int row = slab * kSlabRows;
    store_slab<kTokens>(y + tile.out_token * y_stride + tile.out_row + row, y_stride,
                        tile.rows - row, tile.tokens, sums);
  }
  template <int kTokens, int kRoom>
  __device__ void finish_through(const Tile& tile, int slab, uint32_t room,
                                 const float (&sums)[kTokens / 2]) const {
    if (!y_mapped) return finish<kTokens>(tile, slab, sums);
    store_slab_through<kTokens, kRoom>(room, y_map,
                                       static_cast<int>(tile.out_row) + slab * kSlabRows,
                                       static_cast<int>(tile.out_token), sums);
  }
  __device__ void finish_one(const Tile& tile, int row, int token, float sum) const {
    y[(tile.out_token + token) * y_stride + tile.out_row + row] = sum;
  }
};

}  // namespace fathom::cuda::gemm
