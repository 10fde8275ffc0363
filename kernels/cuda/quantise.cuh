// How is a block of 128 values quantised? By a warp whose lanes hold four neighbours each: e4m3 of
// x / scale, where scale is the largest magnitude / 448. Not-a-number and infinity make a scale of
// their kind, so that no product of the row is a number.
#pragma once

#include "kernels/cuda/quads.cuh"

namespace fathom::cuda {

struct QuantisedQuad {
  uint32_t codes;  // the first value's in the lowest byte
  float scale;
};

// Two values as e4m3, to the nearest, ties to even.
__device__ __forceinline__ uint32_t narrow_e4m3(float low, float high) {
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}

// By all lanes of a warp, with zeros for what is not there.
__device__ __forceinline__ QuantisedQuad quantise_quad(const Quad& q) {
  // Magnitudes are ordered as their bits are, not-a-number above all.
  uint32_t largest = __float_as_uint(1e-4f);
#pragma unroll
  for (int j = 0; j < 4; ++j) largest = max(largest, __float_as_uint(q.v[j]) & 0x7FFFFFFFu);
  const float scale = __uint_as_float(__reduce_max_sync(~0u, largest)) / 448.0f;
  return {narrow_e4m3(q.v[0] / scale, q.v[1] / scale) | narrow_e4m3(q.v[2] / scale, q.v[3] / scale)
                                                            << 16,
          scale};
}

// This lane's four values, [column, column + 4) of row `row`, and with them the scale of the warp's
// 128. Codes are stored in words: rows of codes are padded to whole ones.
__device__ __forceinline__ void store_quantised(const QuantisedRows& to, int64_t row,
                                                int32_t column, int32_t width, const Quad& q) {
  const QuantisedQuad quantised = quantise_quad(q);
  if (column >= width) return;
  *reinterpret_cast<uint32_t*>(to.codes + row * to.stride + column) = quantised.codes;
  if (column % kScaleBlock == 0)
    to.scales[column / kScaleBlock * to.scale_stride + row] = quantised.scale;
}

// The same of what `dtype` keeps of the values.
__device__ __forceinline__ Quad as_kept(const Quad& q, DType dtype) {
  if (dtype != DType::bf16) return q;
  Quad out;
#pragma unroll
  for (int j = 0; j < 4; ++j) out.v[j] = widen_bf16(narrow_bf16(q.v[j]));
  return out;
}

}  // namespace fathom::cuda
