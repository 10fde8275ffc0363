// How does plain arithmetic read operands? In runs of neighbouring k, widened to float32 exactly,
// and as zeros outside the matrix.
#pragma once

#include "kernels/cuda/device.cuh"

namespace fathom::cuda::gemm {

// A matrix as plain arithmetic reads it.
struct Operand {
  const void* data = nullptr;
  DType dtype = DType::f32;
  bool aligned = false;  // runs of 4 whose first k is a multiple of 4 are one aligned load
  int rows = 0, cols = 0;
  int64_t stride = 0;  // elements
  // FP8, as in Weight.
  const float* scale = nullptr;
  int64_t scale_stride = 0;
  int scale_row = 0, scale_col = 0;
};

namespace detail {

template <DType kType>
__device__ __forceinline__ void widen_four(const void* data, int64_t at, float* out) {
  if constexpr (kType == DType::f32) {
    const float4 v = *reinterpret_cast<const float4*>(static_cast<const float*>(data) + at);
    out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
  } else if constexpr (kType == DType::f8_e4m3) {
    const auto v = *reinterpret_cast<const uint32_t*>(static_cast<const uint8_t*>(data) + at);
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = widen_e4m3(static_cast<uint8_t>(v >> (8 * i)));
  } else {
    const uint2 v = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + at);
    const uint32_t pairs[2] = {v.x, v.y};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto half = static_cast<uint16_t>(pairs[i / 2] >> (i % 2 * 16));
      out[i] = kType == DType::bf16 ? widen_bf16(half) : __half2float(__ushort_as_half(half));
    }
  }
}

}  // namespace detail

// Elements (row, k .. k + kCount - 1) of an operand of kType, dequantised; rounded to bf16 if
// `rounded`. k is a multiple of kCount. kWhole: m.aligned, and all of them are within the matrix;
// no branch then stands between the loads of several runs.
template <DType kType, bool kWhole, int kCount>
__device__ __forceinline__ void load_run(const Operand& m, int row, int k, bool rounded,
                                         float (&out)[kCount]) {
  const int64_t at = row * m.stride + k;
  if constexpr (kWhole && kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) detail::widen_four<kType>(m.data, at + i, out + i);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      out[i] = kWhole || (row < m.rows && k + i < m.cols) ? load(m.data, kType, at + i) : 0.0f;
  }
  if constexpr (kType == DType::f8_e4m3) {
    const float* scale = m.scale + (row + m.scale_row) / kScaleBlock * m.scale_stride;
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      if (kWhole || (row < m.rows && k + i < m.cols))
        out[i] *= scale[(k + i + m.scale_col) / kScaleBlock];
  }
  if (kType != DType::bf16 && rounded)
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = widen_bf16(narrow_bf16(out[i]));
}

}  // namespace fathom::cuda::gemm
