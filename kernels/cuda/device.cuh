// What do all kernels say alike? The order of overlapping launches, numbers of 8 and 16 bits, and
// the gate of SwiGLU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/tensor.h"

namespace fathom::cuda {

// First thing in every kernel, before it reads what an earlier kernel wrote or writes what an
// earlier one reads; weights may be fetched before. Then the next kernel may begin its own
// prologue: it too waits here until this one is complete.
__device__ __forceinline__ void wait_for_previous() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;");
}

__device__ __forceinline__ float widen_bf16(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}
// Nearest, ties to even; NaN stays NaN.
__device__ __forceinline__ uint16_t narrow_bf16(float v) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(v));
}
__device__ __forceinline__ float widen_e4m3(uint8_t bits) {
  __nv_fp8_e4m3 q;
  q.__x = bits;
  return static_cast<float>(q);
}

// Element i of an array of `dtype`, widened exactly; FP8 without its scale.
__device__ __forceinline__ float load(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f32:
      return static_cast<const float*>(data)[i];
    case DType::bf16:
      return widen_bf16(static_cast<const uint16_t*>(data)[i]);
    case DType::f16:
      return __half2float(__ushort_as_half(static_cast<const uint16_t*>(data)[i]));
    case DType::f8_e4m3:
      return widen_e4m3(static_cast<const uint8_t*>(data)[i]);
    default:
      return 0;
  }
}
__device__ __forceinline__ void store(void* data, DType dtype, int64_t i, float v) {
  if (dtype == DType::bf16)
    static_cast<uint16_t*>(data)[i] = narrow_bf16(v);
  else
    static_cast<float*>(data)[i] = v;
}

// silu(gate) * up. A gate of -1e30 makes a divisor of infinity and so a zero; an estimate of the
// inverse would not.
__device__ __forceinline__ float gated(float gate, float up) {
  return gate / (1.0f + expf(-gate)) * up;
}

// W[row, col] dequantised: q * scale rounded once to float32, as the reference does.
__device__ __forceinline__ float load_weight(const Weight& w, int64_t row, int64_t col) {
  const float q = load(w.data, w.dtype, row * w.row_stride + col);
  if (w.dtype != DType::f8_e4m3) return q;
  return q * w.scale[((row + w.scale_row) / kScaleBlock) * w.scale_stride +
                     (col + w.scale_col) / kScaleBlock];
}

}  // namespace fathom::cuda
