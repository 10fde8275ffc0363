// How are pairs put in order of their experts? A counting sort by one block: each warp takes a run of
// pairs and counts them by expert, the counts are summed up over warps and experts, and each warp
// places its run again. Nothing depends on timing, so equal ids give equal orders.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/experts/plan.h"

namespace fathom::cuda {

inline constexpr int kMostWarps = 32;  // of the block that sorts

namespace sorting {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAll = 0xFFFFFFFFu;

struct Sort {
  const int32_t* ids;
  int32_t pairs, first_expert, experts, most;
  ExpertPlan plan;
};

// Which of the call's experts a pair wants; `experts` for none.
__device__ __forceinline__ int32_t wanted(const Sort& s, int32_t pair, int32_t end) {
  if (pair >= end) return s.experts;
  const int64_t e = int64_t{s.ids[pair]} - s.first_expert;
  return s.ids[pair] >= 0 && e >= 0 && e < s.experts ? static_cast<int32_t>(e) : s.experts;
}

// Exclusive sums of one value of each thread of the block; `total` is all of them.
__device__ __forceinline__ int32_t sum_before(int32_t value, int32_t* of_warps, int32_t* total) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes, warps = blockDim.x / kLanes;
  int32_t sum = value;
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) {
    const int32_t other = __shfl_up_sync(kAll, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == kLanes - 1) of_warps[warp] = sum;
  __syncthreads();
  if (warp == 0) {
    int32_t whole = lane < warps ? of_warps[lane] : 0;
#pragma unroll
    for (int step = 1; step < kLanes; step *= 2) {
      const int32_t other = __shfl_up_sync(kAll, whole, step);
      if (lane >= step) whole += other;
    }
    of_warps[lane] = whole;
  }
  __syncthreads();
  *total = of_warps[warps - 1];
  const int32_t before = (warp > 0 ? of_warps[warp - 1] : 0) + sum - value;
  __syncthreads();
  return before;
}

// By one block. Shared memory: counts [warps][experts], which become the next row of each warp and
// expert. The caller has made them zero, and has waited for the ids.
__device__ __forceinline__ void sort_pairs(const Sort& s, int32_t* counts) {
  __shared__ int32_t of_warps[kMostWarps];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes, warps = blockDim.x / kLanes;

  const int32_t groups = (s.pairs + kLanes - 1) / kLanes;
  const int32_t share = (groups + warps - 1) / warps * kLanes;
  const int32_t begin = min(warp * share, s.pairs), end = min(begin + share, s.pairs);
  int32_t* mine = counts + warp * s.experts;
  constexpr int kAhead = 8;  // loads on their way at one time
  for (int32_t first = begin; first < end; first += kAhead * kLanes) {
    int32_t ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ahead[i] = wanted(s, first + i * kLanes + lane, end);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int32_t e = ahead[i];
      const uint32_t same = __match_any_sync(kAll, e);
      if (e < s.experts && __ffs(same) - 1 == lane) mine[e] += __popc(same);
      __syncwarp();
    }
  }
  __syncthreads();

  int32_t rows_before = 0, tiles_before = 0;
  for (int32_t first = 0; first < s.experts; first += blockDim.x) {
    const int32_t e = first + static_cast<int32_t>(threadIdx.x);
    int32_t rows = 0;
    if (e < s.experts)
      for (int w = 0; w < warps; ++w) rows += counts[w * s.experts + e];
    int32_t all_rows = 0, all_tiles = 0;
    int32_t row = rows_before + sum_before(rows, of_warps, &all_rows);
    const int32_t tile =
        tiles_before + sum_before(tiles_of(rows, s.most), of_warps, &all_tiles);
    if (e < s.experts) {
      s.plan.begin[e] = row;
      s.plan.tile_begin[e] = tile;
      for (int w = 0; w < warps; ++w) {
        const int32_t count = counts[w * s.experts + e];
        counts[w * s.experts + e] = row;
        row += count;
      }
    }
    rows_before += all_rows;
    tiles_before += all_tiles;
  }
  if (threadIdx.x == 0) {
    s.plan.begin[s.experts] = rows_before;
    s.plan.tile_begin[s.experts] = tiles_before;
  }
  __syncthreads();

  for (int32_t first = begin; first < end; first += kAhead * kLanes) {
    int32_t ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ahead[i] = wanted(s, first + i * kLanes + lane, end);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int32_t pair = first + i * kLanes + lane, e = ahead[i];
      const uint32_t same = __match_any_sync(kAll, e);
      const uint32_t before = same & ((1u << lane) - 1);
      int32_t row = -1;
      if (e < s.experts) row = mine[e] + __popc(before);
      __syncwarp();
      if (row >= 0 && before == 0) mine[e] += __popc(same);
      __syncwarp();
      if (pair < end) s.plan.row[pair] = row;
      if (row >= 0) s.plan.pair[row] = pair;
    }
  }
}

}  // namespace sorting
}  // namespace fathom::cuda
