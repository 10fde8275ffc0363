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

// Rows as they are in practice: whole, held by the threads' registers, under a whole bf16 weight.
// All others take the same steps by guarded accesses.
inline bool fast_norm(const Weight& weight, int32_t width) {
  return weight.dtype == DType::bf16 && whole_rows(weight) && width <= kNormThreads * kNormKept * 4;
}

// The weight; where norms are fast, this thread's part of it in registers, fetched while the kernel
// before ends.
template <bool kFast>
struct NormWeight {
  const Weight& weight;
  uint2 bits[kFast ? kNormKept : 1];
  __device__ __forceinline__ NormWeight(const Weight& w, int32_t threads) : weight(w) {
    if constexpr (kFast) {
      const auto* from = static_cast<const uint16_t*>(w.data);
#pragma unroll
      for (int k = 0; k < kNormKept; ++k) {
        const int32_t i = (k * threads + static_cast<int32_t>(threadIdx.x)) * 4;
        bits[k] = i < w.cols ? *reinterpret_cast<const uint2*>(from + i) : uint2{};
      }
    }
  }
  // Quad k of this thread, which begins at i.
  __device__ __forceinline__ Quad at(int k, int32_t i) const {
    if constexpr (kFast) return widen_quad(bits[k]);
    return load_quad(weight, 0, i, false);
  }
};

// write(i, weight * x / sqrt(mean(x^2) + eps)) for quads i of a row of weight.cols values, after
// keep(i, x). read(i) gives x, zeros beyond the row; again(i) what is read the second time.
template <bool kFast, class Read, class Keep, class Again, class Write>
__device__ __forceinline__ void norm_row(const NormWeight<kFast>& weight, float eps,
                                         int32_t threads, const Read& read, const Keep& keep,
                                         const Again& again, const Write& write) {
  const int32_t width = weight.weight.cols;
  const int32_t step = threads * 4;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t first = thread < threads ? thread * 4 : width;
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
  if constexpr (!kFast)
    for (int32_t i = first + kNormKept * step; i < width; i += step) {
      const Quad q = read(i);
#pragma unroll
      for (int j = 0; j < 4; ++j) squares += q.v[j] * q.v[j];
      keep(i, q);
    }
  const float mean = block_sum(squares) / static_cast<float>(width);
  const float factor = 1.0f / sqrtf(mean + eps);

  const auto scaled = [&](int k, int32_t i, const Quad& q) {
    const Quad w = weight.at(k, i);
    Quad out;
#pragma unroll
    for (int j = 0; j < 4; ++j) out.v[j] = w.v[j] * (q.v[j] * factor);
    write(i, out);
  };
#pragma unroll
  for (int k = 0; k < kNormKept; ++k) scaled(k, first + k * step, kept[k]);
  if constexpr (!kFast)
    for (int32_t i = first + kNormKept * step; i < width; i += step) scaled(0, i, again(i));
}

}  // namespace fathom::cuda
