// How is a row divided by its root mean square? One block a row, which keeps the row in registers
// between the sum and the scaling, so memory sees it once. Which thread adds what, and the tree over
// threads, depend on the width alone.
#include <algorithm>

#include "kernels/cuda/operations.h"
#include "kernels/cuda/quads.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

// Quads a thread keeps in registers; what is wider than kMostThreads hold (8192) is read twice.
constexpr int kKept = 4;
constexpr int kMostThreads = 512;

struct NormArgs {
  const float* x;
  int64_t x_stride;
  const float* add;  // the same rows
  float* sum;        // x + add goes here
  Weight weight;
  float eps;
  int32_t width;
  void* out;
  DType out_dtype;
  int64_t out_stride;
  bool aligned, weight_aligned;
};

__device__ __forceinline__ int64_t weight_bytes(DType t) {
  return t == DType::f32 ? 4 : t == DType::f8_e4m3 ? 1 : 2;
}
__device__ __forceinline__ void prefetch(const void* p) {
  asm volatile("prefetch.global.L1 [%0];" ::"l"(p));
}

// The sum over the block in a fixed order: a butterfly in each warp, then over warps.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float of_warp[32];
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(~0u, v, apart);
  if (blockDim.x <= 32) return v;
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  if (lane == 0) of_warp[threadIdx.x / 32] = v;
  __syncthreads();
  v = lane < warps ? of_warp[lane] : 0.0f;
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(~0u, v, apart);
  return v;
}

// Blocks a multiprocessor: with a V3 row, 86 KB are on their way alone, 114 KB of two added ones.
template <bool kAdd>
__global__ void __launch_bounds__(kMostThreads, kAdd ? 2 : 3) norm_rows(const NormArgs p) {
  const int64_t row = blockIdx.x;
  const int64_t step = int64_t{blockDim.x} * 4, first = int64_t{threadIdx.x} * 4;
  // The weight is fetched while the kernel before ends, but kept in no registers.
  for (int64_t i = first; i < p.width; i += step)
    prefetch(static_cast<const char*>(p.weight.data) + i * weight_bytes(p.weight.dtype));
  wait_for_previous();

  const float* x = p.x + row * p.x_stride;
  const auto read = [&](int64_t i) {
    Quad q = load_quad(x, i, p.width, p.aligned);
    if constexpr (kAdd) {
      const Quad more = load_quad(p.add + row * p.x_stride, i, p.width, p.aligned);
#pragma unroll
      for (int j = 0; j < 4; ++j) q.v[j] += more.v[j];
    }
    return q;
  };
  const auto keep = [&](int64_t i, const Quad& q) {
    if constexpr (kAdd)
      store_quad(p.sum + row * p.x_stride, DType::f32, i, p.width, q, p.aligned);
  };
  Quad kept[kKept];
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) kept[k] = read(first + k * step);
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) squares += kept[k].v[j] * kept[k].v[j];
    keep(first + k * step, kept[k]);
  }
  for (int64_t i = first + kKept * step; i < p.width; i += step) {
    const Quad q = read(i);
#pragma unroll
    for (int j = 0; j < 4; ++j) squares += q.v[j] * q.v[j];
    keep(i, q);
  }
  const float mean = block_sum(squares) / static_cast<float>(p.width);
  const float factor = 1.0f / sqrtf(mean + p.eps);

  void* out = row_of(p.out, p.out_dtype, row, p.out_stride);
  const auto write = [&](int64_t i, const Quad& q) {
    const Quad w = load_quad(p.weight, 0, i, p.weight_aligned);
    Quad scaled;
#pragma unroll
    for (int j = 0; j < 4; ++j) scaled.v[j] = w.v[j] * (q.v[j] * factor);
    store_quad(out, p.out_dtype, i, p.width, scaled, p.aligned);
  };
#pragma unroll
  for (int k = 0; k < kKept; ++k) write(first + k * step, kept[k]);
  const float* again = kAdd ? p.sum + row * p.x_stride : x;
  for (int64_t i = first + kKept * step; i < p.width; i += step)
    write(i, load_quad(again, i, p.width, p.aligned));
}

template <bool kAdd>
void norm(const OpContext& ctx, const char* name, int32_t rows, NormArgs p) {
  if (p.width <= 0) return;
  p.aligned = quads_aligned(p.x, DType::f32, p.x_stride) &&
              quads_aligned(p.out, p.out_dtype, p.out_stride) &&
              (!kAdd || quads_aligned(p.add, DType::f32, p.x_stride));
  p.weight_aligned = quads_aligned(p.weight);
  const int64_t threads = ceil_div(p.width, int64_t{kKept} * 4 * 32) * 32;
  launch(device_of(ctx), name, norm_rows<kAdd>,
         {.grid = dim3(static_cast<unsigned>(std::max(rows, 0))),
          .block = dim3(static_cast<unsigned>(std::min<int64_t>(threads, kMostThreads)))},
         p);
}

}  // namespace

void rms_norm(const OpContext& ctx, const RmsNormParams& p) {
  norm<false>(ctx, "rms_norm", p.rows,
              {.x = p.x,
               .x_stride = p.x_stride,
               .weight = p.weight,
               .eps = p.eps,
               .width = p.width,
               .out = p.out,
               .out_dtype = p.out_dtype,
               .out_stride = p.out_stride});
}

void add_norm(const OpContext& ctx, const AddNormParams& p) {
  norm<true>(ctx, "add_norm", p.rows,
             {.x = p.x,
              .x_stride = p.width,
              .add = p.add,
              .sum = p.x,
              .weight = p.weight,
              .eps = p.eps,
              .width = p.width,
              .out = p.out,
              .out_dtype = p.out_dtype,
              .out_stride = p.out_stride});
}

}  // namespace fathom::cuda
