// How do row kernels touch memory? In quads: 4 neighbouring values, one 16-byte access of float32
// (8 bytes of bf16) where rows are `whole`, and four guarded ones where they are not. Whole rows
// are aligned and a multiple of 4 wide: a quad then needs one predicate and no branch, so that
// loads of several are on their way together. Who owns which quad never depends on that: both ways
// give the same bits.
#pragma once

#include "kernels/cuda/device.cuh"

namespace fathom::cuda {

struct Quad {
  float v[4];
};

// Values [i, i + 4) of an array of `n`; zeros beyond it.
template <bool kWhole>
__device__ __forceinline__ Quad load_quad(const float* from, int32_t i, int32_t n) {
  Quad q = {};
  if constexpr (kWhole) {
    const float4 f = i < n ? *reinterpret_cast<const float4*>(from + i) : float4{};
    q = {{f.x, f.y, f.z, f.w}};
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i + j < n) q.v[j] = from[i + j];
  }
  return q;
}

template <bool kWhole>
__device__ __forceinline__ void store_quad(void* to, DType dtype, int32_t i, int32_t n,
                                           const Quad& q) {
  if constexpr (kWhole) {
    if (i >= n) return;
    if (dtype == DType::bf16) {
      const uint32_t low = narrow_bf16(q.v[0]) | static_cast<uint32_t>(narrow_bf16(q.v[1])) << 16;
      const uint32_t high = narrow_bf16(q.v[2]) | static_cast<uint32_t>(narrow_bf16(q.v[3])) << 16;
      *reinterpret_cast<uint2*>(static_cast<uint16_t*>(to) + i) = make_uint2(low, high);
    } else {
      *reinterpret_cast<float4*>(static_cast<float*>(to) + i) =
          make_float4(q.v[0], q.v[1], q.v[2], q.v[3]);
    }
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i + j < n) store(to, dtype, i + j, q.v[j]);
  }
}

__device__ __forceinline__ Quad widen_quad(uint2 bits) {
  return {{__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xFFFF0000u),
           __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xFFFF0000u)}};
}

// Values [i, i + 4) of a weight's row, dequantised; zeros beyond its columns.
__device__ __forceinline__ Quad load_quad(const Weight& w, int64_t row, int32_t i, bool whole) {
  Quad q = {};
  const int64_t at = row * w.row_stride + i;
  if (!whole || i + 4 > w.cols) {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i + j < w.cols) q.v[j] = load_weight(w, row, i + j);
  } else if (w.dtype == DType::f32) {
    const float4 f = *reinterpret_cast<const float4*>(static_cast<const float*>(w.data) + at);
    q = {{f.x, f.y, f.z, f.w}};
  } else if (w.dtype == DType::f8_e4m3) {
    const uint32_t bits =
        *reinterpret_cast<const uint32_t*>(static_cast<const uint8_t*>(w.data) + at);
    const float* scale = w.scale + ((row + w.scale_row) / kScaleBlock) * w.scale_stride;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      q.v[j] = widen_e4m3(static_cast<uint8_t>(bits >> (8 * j))) *
               scale[(i + j + w.scale_col) / kScaleBlock];
  } else {
    const uint2 bits = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(w.data) + at);
    if (w.dtype == DType::bf16) return widen_quad(bits);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      q.v[j] = __half2float(
          __ushort_as_half(static_cast<uint16_t>((j < 2 ? bits.x : bits.y) >> (16 * (j & 1)))));
  }
  return q;
}

// Row `row` of rows `stride` elements apart.
__device__ __forceinline__ void* row_of(void* base, DType dtype, int64_t row, int64_t stride) {
  return static_cast<char*>(base) + row * stride * (dtype == DType::bf16 ? 2 : 4);
}

// Whether rows of `width` values, `stride` apart, are whole.
inline bool whole_rows(const void* base, DType dtype, int64_t stride, int64_t width) {
  const auto bytes = static_cast<uintptr_t>(4 * dtype_bytes(dtype));
  return reinterpret_cast<uintptr_t>(base) % bytes == 0 && stride % 4 == 0 && width % 4 == 0;
}
inline bool whole_rows(const Weight& w) {
  return whole_rows(w.data, w.dtype, w.row_stride, w.cols);
}

}  // namespace fathom::cuda
