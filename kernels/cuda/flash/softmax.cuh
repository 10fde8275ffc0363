// How does a warpgroup keep a running softmax of 64 query rows in registers? Each thread holds two
// rows' scores of a tile where wgmma left them (gemm/layout.h); four neighbouring threads share a
// row. Sums stay per thread until the end, so nothing depends on which tiles came in one launch.
#pragma once

#include <cmath>

#include "kernels/cuda/flash/ptx.cuh"

namespace fathom::cuda::flash {

struct Running {
  float largest[2];  // of the scores so far, unscaled
  float sum[2];      // of this thread's exponentials
};

// Scores of keys behind the row's own position count for nothing. `ahead`: each of the two rows'
// position minus the tile's first.
template <int kScores>
__device__ __forceinline__ void mask(float (&s)[kScores], int ahead0, int ahead1) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < kScores; ++i)
    if (i / 4 * 8 + column + i % 2 > (i / 2 % 2 == 0 ? ahead0 : ahead1)) s[i] = -INFINITY;
}

// Scores become exp(scale * (score - largest)); `factor` is scale * log2(e). What was summed before
// is to be multiplied by keep[], of the two rows. kEmpty: a row may have seen no score at all yet.
template <bool kEmpty, int kScores>
__device__ __forceinline__ void exponentials(float (&s)[kScores], float factor, Running& state,
                                             float (&keep)[2]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float top = s[2 * h];
#pragma unroll
    for (int i = 0; i < kScores; i += 4) top = fmaxf(top, fmaxf(s[i + 2 * h], s[i + 2 * h + 1]));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    top = fmaxf(top, state.largest[h]);
    const float from = kEmpty && top == -INFINITY ? 0.0f : top;
    keep[h] = power_of_two((state.largest[h] - from) * factor);
    state.largest[h] = top;
    const float shift = from * factor;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kScores; i += 4) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = s[i + 2 * h + e];
        x = power_of_two(fmaf(x, factor, -shift));
        sum += x;
      }
    }
    state.sum[h] = fmaf(state.sum[h], keep[h], sum);
  }
}

template <int kValues>
__device__ __forceinline__ void rescale(float (&o)[kValues], const float (&keep)[2]) {
#pragma unroll
  for (int i = 0; i < kValues; ++i) o[i] *= keep[i / 2 % 2];
}

// As operand A of the products with values: 16 positions are four registers.
template <int kScores>
__device__ __forceinline__ void pack_probabilities(const float (&s)[kScores],
                                                   uint32_t (&p)[kScores / 2]) {
#pragma unroll
  for (int i = 0; i < kScores / 2; ++i) p[i] = pack(s[2 * i], s[2 * i + 1]);
}

}  // namespace fathom::cuda::flash
