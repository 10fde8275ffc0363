// Which tiles do the products of all experts have under Compute::fp8? The grouped Work of
// gemm/gemm.cuh: tiles of tokens as the plan cut them, times panels of rows of their expert's
// weights; the tiles of one panel follow each other. Scales of tokens stand tile by tile, `most` a
// tile, so that every tile's begin aligned.
#pragma once

#include "kernels/cuda/experts/plan.h"
#include "kernels/cuda/gemm/gemm.cuh"
#include "kernels/cuda/gemm/store.cuh"

namespace fathom::cuda::quantised {

struct Grouped {
  static constexpr bool kKnownEarly = false;
  ExpertPlan plan;
  const int32_t* expert_of_tile = nullptr;
  int32_t experts = 0, most = 0;
  // Rows of a matrix, in `panels` of tile_rows; of both halves, where gate and up are multiplied at
  // one time. Rows of the weights' map between experts, and from gate to up.
  int32_t rows = 0, tile_rows = 0, panels = 0, halves = 1;
  int32_t rows_between = 0, second = 0;
  const float* scale = nullptr;  // of the first expert
  const float* second_scale = nullptr;
  int64_t scale_step = 0, scale_stride = 0;
  const float* token_scale = nullptr;  // [k / 128, tiles * most]
  int64_t token_scale_stride = 0;
  float* out = nullptr;  // [pairs, halves * rows]

  __device__ int tiles() const { return plan.tile_begin[experts] * panels * halves; }
  __device__ gemm::Tile tile(int index) const {
    const int all = panels * halves;
    const int32_t expert = expert_of_tile[index / all];
    const int32_t first = plan.tile_begin[expert], tiles = plan.tile_begin[expert + 1] - first;
    const int32_t begin = plan.begin[expert], count = plan.begin[expert + 1] - begin;
    const int32_t inside = index - first * all;
    const int32_t tile = inside % tiles, panel = inside / tiles;
    const int32_t half = panel / panels, row = panel % panels * tile_rows;
    const RowRun run = run_of(count, most, tile);
    return {.weight_row = expert * rows_between + half * second + row,
            .token_row = begin + run.first,
            .rows = rows - row,
            .tokens = run.count,
            .scale = (half == 0 ? scale : second_scale) + expert * scale_step +
                     row / kScaleBlock * scale_stride,
            .scale_stride = scale_stride,
            .token_scale = token_scale + int64_t{first + tile} * most,
            .token_scale_stride = token_scale_stride,
            .out_row = half * rows + row,
            .out_token = begin + run.first};
  }
  template <int kTokens>
  __device__ void finish(const gemm::Tile& t, int slab, const float (&sums)[kTokens / 2]) const {
    const int row = slab * gemm::kSlabRows;
    const int64_t stride = int64_t{halves} * rows;
    gemm::store_slab<kTokens>(out + t.out_token * stride + t.out_row + row, stride, t.rows - row,
                              t.tokens, sums);
  }
};

}  // namespace fathom::cuda::quantised
