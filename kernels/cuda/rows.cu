// What else is done to rows one at a time? Embedding, SwiGLU, adding and gathering: each value
// stands alone, so any cut over blocks gives the same bits. Memory is all they cost; every thread
// keeps several accesses in flight. Rotation stands in rope.cu.
#include <algorithm>

#include "kernels/cuda/operations.h"
#include "kernels/cuda/quads.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQuads = 4;  // of one thread, all loaded before the first is used

// Rows by pieces of kThreads * kQuads quads; rows along x, which may be many.
Launch row_pieces(int64_t rows, int64_t width) {
  const int64_t quads = ceil_div(width, 4);
  const int64_t threads = std::min<int64_t>(kThreads, ceil_div(quads, int64_t{kQuads} * 32) * 32);
  return {.grid = dim3(static_cast<unsigned>(std::max<int64_t>(rows, 0)),
                       static_cast<unsigned>(ceil_div(quads, threads * kQuads))),
          .block = dim3(static_cast<unsigned>(threads))};
}
// Where quad k of this thread begins in its row.
__device__ __forceinline__ int64_t place(int k) {
  return ((int64_t{blockIdx.y} * kQuads + k) * blockDim.x + threadIdx.x) * 4;
}

__global__ void __launch_bounds__(kThreads)
    embed_rows(const TokenId* tokens, const Weight table, int32_t first_row, float* out,
               bool aligned, bool table_aligned) {
  wait_for_previous();
  const int64_t row = int64_t{tokens[blockIdx.x]} - first_row;
  const bool inside = row >= 0 && row < table.rows;
  Quad q[kQuads] = {};
  if (inside) {
#pragma unroll
    for (int k = 0; k < kQuads; ++k) q[k] = load_quad(table, row, place(k), table_aligned);
  }
  float* to = out + int64_t{blockIdx.x} * table.cols;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) store_quad(to, DType::f32, place(k), table.cols, q[k], aligned);
}

__global__ void __launch_bounds__(kThreads)
    gather(const float* x, int64_t stride, const int32_t* from, int32_t width, float* out,
           bool aligned) {
  wait_for_previous();
  const float* source = x + from[blockIdx.x] * stride;
  Quad q[kQuads];
#pragma unroll
  for (int k = 0; k < kQuads; ++k) q[k] = load_quad(source, place(k), width, aligned);
  float* to = out + int64_t{blockIdx.x} * width;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) store_quad(to, DType::f32, place(k), width, q[k], aligned);
}

__device__ __forceinline__ void add_quads(float* x, const float* y, int64_t first, int64_t step,
                                          int64_t n, bool aligned) {
  Quad a[kQuads], b[kQuads];
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    a[k] = load_quad(x, first + k * step, n, aligned);
    b[k] = load_quad(y, first + k * step, n, aligned);
  }
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) a[k].v[j] += b[k].v[j];
    store_quad(x, DType::f32, first + k * step, n, a[k], aligned);
  }
}

__global__ void __launch_bounds__(kThreads)
    add_bias_rows(float* y, const float* bias, int64_t width, bool aligned) {
  wait_for_previous();
  add_quads(y + blockIdx.x * width, bias, place(0), int64_t{blockDim.x} * 4, width, aligned);
}

constexpr int64_t kAddPiece = int64_t{kThreads} * kQuads * 4;
__global__ void __launch_bounds__(kThreads)
    add_all(float* x, const float* y, int64_t count, bool aligned) {
  wait_for_previous();
  add_quads(x, y, blockIdx.x * kAddPiece + threadIdx.x * 4, int64_t{kThreads} * 4, count, aligned);
}

__global__ void __launch_bounds__(kThreads) swiglu_rows(const SwigluParams p, bool aligned) {
  wait_for_previous();
  const float* gate = p.gate + blockIdx.x * p.in_stride;
  const float* up = p.up + blockIdx.x * p.in_stride;
  void* out = row_of(p.out, p.out_dtype, blockIdx.x, p.out_stride);
  Quad g[kQuads], u[kQuads];
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    g[k] = load_quad(gate, place(k), p.width, aligned);
    u[k] = load_quad(up, place(k), p.width, aligned);
  }
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) g[k].v[j] = g[k].v[j] / (1.0f + expf(-g[k].v[j])) * u[k].v[j];
    store_quad(out, p.out_dtype, place(k), p.width, g[k], aligned);
  }
}

}  // namespace

void embed(const OpContext& ctx, const EmbedParams& p) {
  launch(device_of(ctx), "embed", embed_rows,
         row_pieces(static_cast<int64_t>(p.tokens.size()), p.table.cols), p.tokens.data(), p.table,
         p.first_row, p.out, quads_aligned(p.out, DType::f32, p.table.cols),
         quads_aligned(p.table));
}

void gather_rows(const OpContext& ctx, const GatherRowsParams& p) {
  launch(device_of(ctx), "gather_rows", gather, row_pieces(p.rows, p.width), p.x, p.x_stride,
         p.from, p.width, p.out,
         quads_aligned(p.x, DType::f32, p.x_stride) && quads_aligned(p.out, DType::f32, p.width));
}

void add_bias(const OpContext& ctx, const AddBiasParams& p) {
  launch(device_of(ctx), "add_bias", add_bias_rows, row_pieces(p.rows, p.width), p.y, p.bias,
         p.width, quads_aligned(p.y, DType::f32, p.width) && quads_aligned(p.bias, DType::f32, 0));
}

void add(const OpContext& ctx, const AddParams& p) {
  launch(
      device_of(ctx), "add", add_all,
      {.grid = dim3(static_cast<unsigned>(ceil_div(p.count, kAddPiece))), .block = dim3(kThreads)},
      p.x, p.y, p.count, quads_aligned(p.x, DType::f32, 0) && quads_aligned(p.y, DType::f32, 0));
}

void swiglu(const OpContext& ctx, const SwigluParams& p) {
  launch(device_of(ctx), "swiglu", swiglu_rows, row_pieces(p.rows, p.width), p,
         quads_aligned(p.gate, DType::f32, p.in_stride) &&
             quads_aligned(p.up, DType::f32, p.in_stride) &&
             quads_aligned(p.out, p.out_dtype, p.out_stride));
}

}  // namespace fathom::cuda
