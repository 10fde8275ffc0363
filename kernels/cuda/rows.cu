// What else is done to rows one at a time? Embedding, feeding tokens, SwiGLU, adding and gathering:
// each value stands alone, so any cut over blocks gives the same bits. Memory is all they cost;
// every thread keeps several accesses in flight. Rotation stands in rope.cu.
#include <algorithm>

#include "kernels/cuda/operations.h"
#include "kernels/cuda/quads.cuh"
#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQuads = 4;  // of one thread, all loaded before the first is used

// Rows by pieces of kThreads * each quads; rows along x, which may be many.
Launch row_pieces(int64_t rows, int64_t width, int each = kQuads) {
  const int64_t quads = ceil_div(width, 4);
  const int64_t threads = std::min<int64_t>(kThreads, ceil_div(quads, int64_t{each} * 32) * 32);
  return {.grid = dim3(static_cast<unsigned>(std::max<int64_t>(rows, 0)),
                       static_cast<unsigned>(ceil_div(quads, threads * each))),
          .block = dim3(static_cast<unsigned>(threads))};
}
// Where quad k of this thread begins in its row.
template <int kEach = kQuads>
__device__ __forceinline__ int32_t place(int k) {
  return static_cast<int32_t>(((blockIdx.y * kEach + k) * blockDim.x + threadIdx.x) * 4);
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    embed_rows(const TokenId* tokens, const Weight table, int32_t first_row, float* out,
               bool whole_table) {
  wait_for_previous();
  const int64_t row = int64_t{tokens[blockIdx.x]} - first_row;
  const bool inside = row >= 0 && row < table.rows;
  Quad q[kQuads] = {};
  if (inside) {
#pragma unroll
    for (int k = 0; k < kQuads; ++k) q[k] = load_quad(table, row, place(k), whole_table);
  }
  float* to = out + int64_t{blockIdx.x} * table.cols;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) store_quad<kWhole>(to, DType::f32, place(k), table.cols, q[k]);
}

__global__ void __launch_bounds__(kThreads) feed(const FeedTokensParams p) {
  wait_for_previous();
  const int32_t i = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= p.rows) return;
  const int32_t from = p.from[i];
  if (from >= 0) p.tokens[i] = p.drawn[from];
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    gather(const float* x, int64_t stride, const int32_t* from, int32_t width, float* out) {
  wait_for_previous();
  const float* source = x + from[blockIdx.x] * stride;
  Quad q[kQuads];
#pragma unroll
  for (int k = 0; k < kQuads; ++k) q[k] = load_quad<kWhole>(source, place(k), width);
  float* to = out + int64_t{blockIdx.x} * width;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) store_quad<kWhole>(to, DType::f32, place(k), width, q[k]);
}

template <bool kWhole>
__device__ __forceinline__ void add_quads(float* x, const float* y, int32_t first, int32_t step,
                                          int32_t n) {
  Quad a[kQuads], b[kQuads];
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    a[k] = load_quad<kWhole>(x, first + k * step, n);
    b[k] = load_quad<kWhole>(y, first + k * step, n);
  }
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) a[k].v[j] += b[k].v[j];
    store_quad<kWhole>(x, DType::f32, first + k * step, n, a[k]);
  }
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    add_bias_rows(float* y, const float* bias, int32_t width) {
  wait_for_previous();
  add_quads<kWhole>(y + int64_t{blockIdx.x} * width, bias, place(0),
                    static_cast<int32_t>(blockDim.x) * 4, width);
}

constexpr int32_t kAddPiece = kThreads * kQuads * 4;
template <bool kWhole>
__global__ void __launch_bounds__(kThreads) add_all(float* x, const float* y, int64_t count) {
  wait_for_previous();
  const int64_t from = int64_t{blockIdx.x} * kAddPiece;
  const auto n = static_cast<int32_t>(min(count - from, int64_t{kAddPiece}));
  add_quads<kWhole>(x + from, y + from, static_cast<int32_t>(threadIdx.x) * 4, kThreads * 4, n);
}

// Fewer quads a thread than elsewhere: arithmetic, not memory, is what a short row waits for.
constexpr int kSwigluQuads = 2;
template <bool kWhole, bool kCodes>
__global__ void __launch_bounds__(kThreads) swiglu_rows(const SwigluParams p) {
  wait_for_previous();
  const float* gate = p.gate + blockIdx.x * p.in_stride;
  const float* up = p.up + blockIdx.x * p.in_stride;
  void* out = row_of(p.out, p.out_dtype, blockIdx.x, p.out_stride);
  Quad g[kSwigluQuads], u[kSwigluQuads];
#pragma unroll
  for (int k = 0; k < kSwigluQuads; ++k) {
    g[k] = load_quad<kWhole>(gate, place<kSwigluQuads>(k), p.width);
    u[k] = load_quad<kWhole>(up, place<kSwigluQuads>(k), p.width);
  }
#pragma unroll
  for (int k = 0; k < kSwigluQuads; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) g[k].v[j] = gated(g[k].v[j], u[k].v[j]);
    store_quad<kWhole>(out, p.out_dtype, place<kSwigluQuads>(k), p.width, g[k]);
    if constexpr (kCodes)
      store_quantised(p.codes, blockIdx.x, place<kSwigluQuads>(k), p.width,
                      as_kept(g[k], p.out_dtype));
  }
}

}  // namespace

void embed(const OpContext& ctx, const EmbedParams& p) {
  const bool whole = whole_rows(p.out, DType::f32, p.table.cols, p.table.cols);
  launch(device_of(ctx), "embed", whole ? embed_rows<true> : embed_rows<false>,
         row_pieces(static_cast<int64_t>(p.tokens.size()), p.table.cols), p.tokens.data(), p.table,
         p.first_row, p.out, whole_rows(p.table));
}

void feed_tokens(const OpContext& ctx, const FeedTokensParams& p) {
  launch(device_of(ctx), "feed_tokens", feed,
         {.grid = dim3(static_cast<unsigned>(ceil_div(p.rows, kThreads))), .block = dim3(kThreads)},
         p);
}

void gather_rows(const OpContext& ctx, const GatherRowsParams& p) {
  const bool whole = whole_rows(p.x, DType::f32, p.x_stride, p.width) &&
                     whole_rows(p.out, DType::f32, p.width, p.width);
  launch(device_of(ctx), "gather_rows", whole ? gather<true> : gather<false>,
         row_pieces(p.rows, p.width), p.x, p.x_stride, p.from, p.width, p.out);
}

void add_bias(const OpContext& ctx, const AddBiasParams& p) {
  const bool whole =
      whole_rows(p.y, DType::f32, p.width, p.width) && whole_rows(p.bias, DType::f32, 0, p.width);
  launch(device_of(ctx), "add_bias", whole ? add_bias_rows<true> : add_bias_rows<false>,
         row_pieces(p.rows, p.width), p.y, p.bias, p.width);
}

void add(const OpContext& ctx, const AddParams& p) {
  const bool whole =
      whole_rows(p.x, DType::f32, 0, p.count) && whole_rows(p.y, DType::f32, 0, p.count);
  launch(
      device_of(ctx), "add", whole ? add_all<true> : add_all<false>,
      {.grid = dim3(static_cast<unsigned>(ceil_div(p.count, kAddPiece))), .block = dim3(kThreads)},
      p.x, p.y, p.count);
}

void swiglu(const OpContext& ctx, const SwigluParams& p) {
  const bool whole = whole_rows(p.gate, DType::f32, p.in_stride, p.width) &&
                     whole_rows(p.up, DType::f32, p.in_stride, p.width) &&
                     whole_rows(p.out, p.out_dtype, p.out_stride, p.width);
  const auto kernel = p.codes.codes != nullptr
                          ? (whole ? swiglu_rows<true, true> : swiglu_rows<false, true>)
                          : (whole ? swiglu_rows<true, false> : swiglu_rows<false, false>);
  launch(device_of(ctx), "swiglu", kernel, row_pieces(p.rows, p.width, kSwigluQuads), p);
}

}  // namespace fathom::cuda
