// How are rows quantised that no operation has quantised before? A warp for each 128 columns of a
// row.
#include "kernels/cuda/quantise.h"

#include <algorithm>

#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = kThreads / 32;  // of 128 columns, of a thread block

template <bool kWhole>
__device__ __forceinline__ Quad load_rows(const PlainRows& x, int64_t row, int32_t column) {
  const int64_t at = row * x.stride;
  if (x.dtype == DType::f32)
    return load_quad<kWhole>(static_cast<const float*>(x.data) + at, column, x.width);
  const auto* from = static_cast<const uint16_t*>(x.data) + at;
  if constexpr (kWhole) {
    return column < x.width ? widen_quad(*reinterpret_cast<const uint2*>(from + column)) : Quad{};
  } else {
    Quad q = {};
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (column + j < x.width) q.v[j] = widen_bf16(from[column + j]);
    return q;
  }
}

__device__ __forceinline__ int32_t own_column() {
  return static_cast<int32_t>((blockIdx.y * kBlocks + threadIdx.x / 32) * kScaleBlock +
                              threadIdx.x % 32 * 4);
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads) to_codes(const PlainRows x, const QuantisedRows out) {
  wait_for_previous();
  const int32_t column = own_column();
  store_quantised(out, blockIdx.x, column, x.width, load_rows<kWhole>(x, blockIdx.x, column));
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads) to_floats(const PlainRows x, float* out) {
  wait_for_previous();
  const int32_t column = own_column();
  const QuantisedQuad q = quantise_quad(load_rows<kWhole>(x, blockIdx.x, column));
  Quad values;
#pragma unroll
  for (int j = 0; j < 4; ++j)
    values.v[j] = widen_e4m3(static_cast<uint8_t>(q.codes >> (8 * j))) * q.scale;
  store_quad<kWhole>(out + int64_t{blockIdx.x} * x.width, DType::f32, column, x.width, values);
}

Launch blocks_of(const PlainRows& x) {
  const int64_t blocks = ceil_div(x.width, kScaleBlock);
  return {
      .grid = dim3(static_cast<unsigned>(x.rows), static_cast<unsigned>(ceil_div(blocks, kBlocks))),
      .block = dim3(static_cast<unsigned>(std::min<int64_t>(blocks, kBlocks) * 32))};
}

}  // namespace

void quantise_into(const OpContext& ctx, const char* operation, const PlainRows& x,
                   const QuantisedRows& out) {
  const bool whole = whole_rows(x.data, x.dtype, x.stride, x.width);
  launch(device_of(ctx), operation, whole ? to_codes<true> : to_codes<false>, blocks_of(x), x, out);
}

QuantisedRows quantise(const OpContext& ctx, const char* operation, const PlainRows& x) {
  QuantisedRows out{.stride = ceil_div(x.width, 16) * 16, .scale_stride = scale_stride_for(x.rows)};
  out.codes = ctx.scratch->take_span<uint8_t>(static_cast<size_t>(x.rows * out.stride)).data();
  out.scales =
      ctx.scratch
          ->take_span<float>(static_cast<size_t>(ceil_div(x.width, kScaleBlock) * out.scale_stride))
          .data();
  quantise_into(ctx, operation, x, out);
  return out;
}

void quantise_in_float(const OpContext& ctx, const char* operation, const PlainRows& x,
                       float* out) {
  const bool whole = whole_rows(x.data, x.dtype, x.stride, x.width) &&
                     whole_rows(out, DType::f32, x.width, x.width);
  launch(device_of(ctx), operation, whole ? to_floats<true> : to_floats<false>, blocks_of(x), x,
         out);
}

}  // namespace fathom::cuda
