// How many pairs want each expert, and where do the experts' rows begin? A block counts all ids in
// shared memory and sums up; integers may be added in any order, so equal ids give equal plans.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/experts/plan.h"

namespace fathom::cuda::counting {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAll = 0xFFFFFFFFu;

struct Ids {
  const int32_t* ids;
  int32_t pairs, first_expert, experts, most;
  ExpertPlan plan;

  // Which of the call's experts a pair wants; `experts` for none.
  __device__ __forceinline__ int32_t wanted(int32_t pair) const {
    const int32_t id = ids[pair];
    const int64_t e = int64_t{id} - first_expert;
    return id >= 0 && e >= 0 && e < experts ? static_cast<int32_t>(e) : experts;
  }
};

// counts [experts + 1] in shared memory, by the whole block.
__device__ __forceinline__ void count(const Ids& s, int32_t* counts) {
  constexpr int kAhead = 8;  // loads on their way at one time
  for (int e = threadIdx.x; e <= s.experts; e += blockDim.x) counts[e] = 0;
  __syncthreads();
  const int32_t step = blockDim.x;
  for (auto first = static_cast<int32_t>(threadIdx.x); first < s.pairs; first += kAhead * step) {
    int32_t wanted[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      wanted[i] = first + i * step < s.pairs ? s.wanted(first + i * step) : s.experts;
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (wanted[i] < s.experts) atomicAdd(&counts[wanted[i]], 1);
  }
  __syncthreads();
}

// Sums of what the threads before have, and of all: `total`. of_warps: room for kLanes numbers.
__device__ __forceinline__ int32_t sum_before(int32_t value, int32_t* of_warps, int32_t* total) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int warps = static_cast<int>(blockDim.x) / kLanes;
  int32_t sum = value;
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) {
    const int32_t other = __shfl_up_sync(kAll, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == kLanes - 1) of_warps[warp] = sum;
  __syncthreads();
  int32_t before = sum - value;
  *total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += of_warps[w];
    *total += of_warps[w];
  }
  __syncthreads();
  return before;
}

// Where every expert's rows and tiles begin, from the counts.
__device__ __forceinline__ void write_begins(const Ids& s, const int32_t* counts) {
  __shared__ int32_t of_warps[kLanes];
  int32_t rows_before = 0, tiles_before = 0;
  for (int32_t first = 0; first < s.experts; first += blockDim.x) {
    const int32_t e = first + static_cast<int32_t>(threadIdx.x);
    const int32_t rows = e < s.experts ? counts[e] : 0;
    int32_t all_rows = 0, all_tiles = 0;
    const int32_t row = rows_before + sum_before(rows, of_warps, &all_rows);
    const int32_t tile = tiles_before + sum_before(tiles_of(rows, s.most), of_warps, &all_tiles);
    if (e < s.experts) {
      s.plan.begin[e] = row;
      s.plan.tile_begin[e] = tile;
    }
    rows_before += all_rows;
    tiles_before += all_tiles;
  }
  if (threadIdx.x == 0) {
    s.plan.begin[s.experts] = rows_before;
    s.plan.tile_begin[s.experts] = tiles_before;
  }
}

}  // namespace fathom::cuda::counting
