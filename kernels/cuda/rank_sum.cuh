// In which order are ranks summed? Always ((r0 + r1) + r2) + ..., element by element, whoever sums:
// so it does not matter how elements are dealt out to ranks, blocks and threads. Both kinds of
// collectives use these two kernels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {

constexpr int kMaxRanks = 16;

// Where each rank's contribution lies, in rank order.
struct RankParts {
  const float* part[kMaxRanks];
  int ranks;
};

// out[i] = the ranks' part[i] in order, for i < count. Four elements a thread where `wide`: all
// pointers are 16-byte aligned.
template <bool wide>
static __global__ void __launch_bounds__(256)
    rank_sum_kernel(const __grid_constant__ RankParts parts, float* out, int64_t count) {
  wait_for_previous();
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t quads = wide ? count / 4 : 0;
  for (int64_t i = first; i < quads; i += stride) {
    float4 sum = reinterpret_cast<const float4*>(parts.part[0])[i];
    for (int r = 1; r < parts.ranks; ++r) {
      const float4 x = reinterpret_cast<const float4*>(parts.part[r])[i];
      sum.x += x.x;
      sum.y += x.y;
      sum.z += x.z;
      sum.w += x.w;
    }
    reinterpret_cast<float4*>(out)[i] = sum;
  }
  for (int64_t i = quads * 4 + first; i < count; i += stride) {
    float sum = parts.part[0][i];
    for (int r = 1; r < parts.ranks; ++r) sum += parts.part[r][i];
    out[i] = sum;
  }
}

// out[r * stride + i] = part[r][i] for i < count[r]: rank r is a row of the grid.
struct RankCounts {
  int64_t count[kMaxRanks];
};
static __global__ void __launch_bounds__(256)
    rank_rows_kernel(const __grid_constant__ RankParts parts,
                     const __grid_constant__ RankCounts counts, float* out, int64_t out_stride) {
  wait_for_previous();
  const int r = static_cast<int>(blockIdx.y);
  const float* part = parts.part[r];
  float* row = out + r * out_stride;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < counts.count[r]; i += stride)
    row[i] = part[i];
}

inline unsigned rank_blocks(const CudaDevice& device, int64_t threads) {
  return static_cast<unsigned>(
      std::clamp<int64_t>(ceil_div(threads, 256), 1, int64_t{device.multiprocessors()} * 4));
}

// Launched in plain order, not ahead of it like other kernels: what comes before is an event of
// another rank.
inline void launch_rank_sum(CudaDevice& device, const RankParts& parts, float* out, int64_t count) {
  uintptr_t places = reinterpret_cast<uintptr_t>(out);
  for (int r = 0; r < parts.ranks; ++r) places |= reinterpret_cast<uintptr_t>(parts.part[r]);
  if (places % 16 == 0)
    rank_sum_kernel<true>
        <<<rank_blocks(device, ceil_div(count, 4)), 256, 0, device.stream()>>>(parts, out, count);
  else
    rank_sum_kernel<false>
        <<<rank_blocks(device, count), 256, 0, device.stream()>>>(parts, out, count);
  device.check(cudaGetLastError(), "all_reduce");
}

// counts.count[r] <= most.
inline void launch_rank_rows(CudaDevice& device, const RankParts& parts, const RankCounts& counts,
                             int64_t most, float* out, int64_t out_stride) {
  const dim3 grid(rank_blocks(device, most), static_cast<unsigned>(parts.ranks));
  rank_rows_kernel<<<grid, 256, 0, device.stream()>>>(parts, counts, out, out_stride);
  device.check(cudaGetLastError(), "all_gather");
}

}  // namespace fathom::cuda
