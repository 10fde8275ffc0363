// In which order does plain arithmetic sum a product? A wide weight: k ascending, one chain for
// each output, in tiles through shared memory. A narrow one (a router) has too few outputs for
// that, and an order of its own (narrow.cu).
#include "kernels/cuda/gemm/exact.h"

#include "kernels/cuda/gemm/layout.h"
#include "kernels/cuda/gemm/narrow.cuh"
#include "kernels/cuda/gemm/runs.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::gemm {
namespace {

constexpr const char* kName = "linear";
constexpr int kThreads = 256;

constexpr int kStep = 16;  // k in shared memory at a time

// A block of 16 x 16 threads computes 16 kT tokens x 16 kW weight rows; k ascends by one chain of
// multiply-adds for each output, whatever kT and kW are.
template <int kT, int kW, DType kX, DType kWeight>
__global__ __launch_bounds__(kThreads, 1) void chains(const Operand x, const Operand w,
                                                      const Outputs out, bool rounded) {
  constexpr int kPad = 4;
  __shared__ __align__(16) float xs[2][kStep][16 * kT + kPad];
  __shared__ __align__(16) float ws[2][kStep][16 * kW + kPad];
  wait_for_previous();
  const int t = threadIdx.x, tx = t % 16, ty = t / 16;
  const int first_row = blockIdx.x * 16 * kW, first_token = blockIdx.y * 16 * kT;
  float next_x[kT], next_w[kW];
  // Rows outside are read as the last row; what comes of them is not stored.
  const int token = first_token + t / (kStep / kT), row = first_row + t / (kStep / kW);
  const bool aligned = x.aligned && w.aligned;
  const auto fetch = [&](int k) {
    if (aligned && k + kStep <= w.cols) {
      load_run<kX, true>(x, smaller(token, x.rows - 1), k + t % (kStep / kT) * kT, rounded, next_x);
      load_run<kWeight, true>(w, smaller(row, w.rows - 1), k + t % (kStep / kW) * kW, rounded,
                              next_w);
    } else {
      load_run<kX, false>(x, token, k + t % (kStep / kT) * kT, rounded, next_x);
      load_run<kWeight, false>(w, row, k + t % (kStep / kW) * kW, rounded, next_w);
    }
  };
  const auto keep = [&](int at) {
#pragma unroll
    for (int i = 0; i < kT; ++i) xs[at][t % (kStep / kT) * kT + i][t / (kStep / kT)] = next_x[i];
#pragma unroll
    for (int i = 0; i < kW; ++i) ws[at][t % (kStep / kW) * kW + i][t / (kStep / kW)] = next_w[i];
  };
  // Thread (tx, ty) has tokens and rows in runs of up to 4, a run every 64.
  constexpr int kRunT = kT < 4 ? kT : 4, kRunW = kW < 4 ? kW : 4;
  const auto token_at = [&](int i) { return i / kRunT * 16 * kRunT + ty * kRunT + i % kRunT; };
  const auto row_at = [&](int i) { return i / kRunW * 16 * kRunW + tx * kRunW + i % kRunW; };

  float sum[kT][kW] = {};
  fetch(0);
  keep(0);
  __syncthreads();
  int now = 0;
  for (int k = 0; k < w.cols; k += kStep, now ^= 1) {
    const bool more = k + kStep < w.cols;
    if (more) fetch(k + kStep);
#pragma unroll
    for (int d = 0; d < kStep; ++d) {
      float a[kT], b[kW];
#pragma unroll
      for (int i = 0; i < kT; ++i) a[i] = xs[now][d][token_at(i)];
#pragma unroll
      for (int i = 0; i < kW; ++i) b[i] = ws[now][d][row_at(i)];
#pragma unroll
      for (int i = 0; i < kT; ++i)
#pragma unroll
        for (int j = 0; j < kW; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
    }
    if (more) keep(now ^ 1);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kT; ++i)
#pragma unroll
    for (int j = 0; j < kW; ++j) {
      const int token = first_token + token_at(i), row = first_row + row_at(j);
      if (token < x.rows && row < w.rows) out.y[token * out.stride + row] = sum[i][j];
    }
}

template <DType kX, DType kWeight>
void launch_chains(CudaDevice& device, const Operand& x, const Operand& w, const Outputs& out,
                   bool rounded) {
  const auto tiles = [&]<int kT, int kW>() {
    launch(device, kName, chains<kT, kW, kX, kWeight>,
           {dim3(static_cast<unsigned>(up_div(w.rows, 16 * kW)),
                 static_cast<unsigned>(up_div(x.rows, 16 * kT))),
            kThreads},
           x, w, out, rounded);
  };
  if (x.rows <= 16) return tiles.template operator()<1, 4>();
  if (x.rows <= 128) return tiles.template operator()<4, 4>();
  tiles.template operator()<8, 8>();
}

bool runs_aligned(const void* data, DType dtype, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(4 * dtype_bytes(dtype)) == 0 &&
         stride % 4 == 0;
}

}  // namespace

void multiply_exact(const OpContext& ctx, const LinearParams& p, bool rounded) {
  CudaDevice& device = device_of(ctx);
  const Weight& weight = p.weight;
  const Operand x = {.data = p.x,
                     .dtype = p.x_dtype,
                     .aligned = runs_aligned(p.x, p.x_dtype, p.x_stride),
                     .rows = p.rows,
                     .cols = weight.cols,
                     .stride = p.x_stride};
  const Operand w = {.data = weight.data,
                     .dtype = weight.dtype,
                     .aligned = runs_aligned(weight.data, weight.dtype, weight.row_stride),
                     .rows = weight.rows,
                     .cols = weight.cols,
                     .stride = weight.row_stride,
                     .scale = weight.scale,
                     .scale_stride = weight.scale_stride,
                     .scale_row = weight.scale_row,
                     .scale_col = weight.scale_col};
  const Outputs out = {p.y, p.y_stride};
  if (is_narrow(w)) return multiply_narrow(device, x, w, out, rounded);
  with_types(x.dtype, w.dtype, [&]<DType kX, DType kWeight>() {
    launch_chains<kX, kWeight>(device, x, w, out, rounded);
  });
}

}  // namespace fathom::cuda::gemm
