// How does a block divide a row by its root mean square? It keeps the row in registers between the
// sum and the scaling, so memory is read once. Which thread adds what, and the tree over threads,
// depend on the width alone: every kernel that norms a row of some width gives the same bits.
#pragma once

#include <algorithm>

#include "kernels/cuda/quads.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {

// Quads a thread keeps in registers; what is wider than kNormThreads hold (8192) is read twice.
inline constexpr int kNormKept = 4;
inline constexpr int kNormThreads = 512;

// Threads that share a row; a block may have more, which add nothing.
inline int norm_threads(int32_t width) {
  return static_cast<int>(
      std::clamp<int64_t>(ceil_div(width, int64_t{kNormKept} * 4 * 32) * 32, 32, kNormThreads));
}

// The sum over the block in a fixed order: a butterfly in each warp, then over warps. Threads that
// add 0 at the end change nothing.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float of_warp[32];
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(~0u, v, apart);
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  if (warps <= 1) return v;
  if (lane == 0) of_warp[threadIdx.x / 32] = v;
  __syncthreads();
  v = lane < warps ? of_warp[lane] : 0.0f;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(~0u, v, apart);
  return v;
}

// Brings the weight nearer while the kernel before ends; it takes no registers.
__device__ __forceinline__ void prefetch_norm(const Weight& w, int32_t threads) {
  const int bytes = w.dtype == DType::f32 ? 4 : w.dtype == DType::f8_e4m3 ? 1 : 2;
  const char* at = static_cast<const char*>(w.data);
  for (int64_t i = int64_t{threadIdx.x} * 4; i < w.cols; i += int64_t{threads} * 4)
    asm volatile("prefetch.global.L1 [%0];" ::"l"(at + i * bytes));
}

// write(i, weight * x / sqrt(mean(x^2) + eps)) for quads i of a row of weight.cols values, after
// keep(i, x). read(i) gives x, zeros beyond the row; again(i) what is read the second time.
template <class Read, class Keep, class Again, class Write>
__device__ __forceinline__ void norm_row(const Weight& weight, bool weight_aligned, float eps,
                                         int32_t threads, const Read& read, const Keep& keep,
                                         const Again& again, const Write& write) {
  const int32_t width = weight.cols;
  const bool mine = static_cast<int32_t>(threadIdx.x) < threads;
  const int64_t step = int64_t{threads} * 4;
  const int64_t first = mine ? int64_t{threadIdx.x} * 4 : int64_t{width};
  Quad kept[kNormKept];
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kNormKept; ++k) kept[k] = read(first + k * step);
#pragma unroll
  for (int k = 0; k < kNormKept; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) squares += kept[k].v[j] * kept[k].v[j];
    keep(first + k * step, kept[k]);
  }
  for (int64_t i = first + kNormKept * step; i < width; i += step) {
    const Quad q = read(i);
#pragma unroll
    for (int j = 0; j < 4; ++j) squares += q.v[j] * q.v[j];
    keep(i, q);
  }
  const float mean = block_sum(squares) / static_cast<float>(width);
  const float factor = 1.0f / sqrtf(mean + eps);

  const auto scaled = [&](int64_t i, const Quad& q) {
    const Quad w = load_quad(weight, 0, i, weight_aligned);
    Quad out;
#pragma unroll
    for (int j = 0; j < 4; ++j) out.v[j] = w.v[j] * (q.v[j] * factor);
    write(i, out);
  };
#pragma unroll
  for (int k = 0; k < kNormKept; ++k) scaled(first + k * step, kept[k]);
  for (int64_t i = first + kNormKept * step; i < width; i += step) scaled(i, again(i));
}

}  // namespace fathom::cuda
