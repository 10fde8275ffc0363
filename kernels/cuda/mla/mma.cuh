// How does one warp multiply 16 x 16 by 16 x 8 in bf16? mma.sync, for products whose operands come
// from float32 or FP8 and would not gain from the copy engine.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.cuh"

namespace fathom::cuda::mla {

// d[16, 8] += a[16, 16] b[16, 8]. With g = lane / 4, c = lane % 4: a holds rows (g, g + 8, g, g +
// 8) at depths (2c, 2c, 2c + 8, 2c + 8) and one more; b column g at depths 2c and 2c + 8 and one
// more; d rows g (0, 1) and g + 8 (2, 3), columns 2c and 2c + 1.
__device__ __forceinline__ void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of bf16 from shared memory; lane l gives the address of row l % 8 of matrix
// l / 8.
__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&m)[4], uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(row)
               : "memory");
}

__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  return narrow_bf16(low) | static_cast<uint32_t>(narrow_bf16(high)) << 16;
}

// Eight neighbouring values of kv_b (element `at`, a multiple of 8) as bf16: FP8 is dequantised and
// rounded.
__device__ __forceinline__ uint4 load_eight(const Weight& w, int64_t at, float scale) {
  if (w.dtype == DType::bf16)
    return __ldg(reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(w.data) + at));
  const uint2 codes =
      __ldg(reinterpret_cast<const uint2*>(static_cast<const uint8_t*>(w.data) + at));
  uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = i < 2 ? codes.x : codes.y;
    const auto low = static_cast<uint8_t>(word >> (i % 2 * 16));
    const auto high = static_cast<uint8_t>(word >> (i % 2 * 16 + 8));
    out[i] = pack_bf16(widen_e4m3(low) * scale, widen_e4m3(high) * scale);
  }
  return make_uint4(out[0], out[1], out[2], out[3]);
}
// Of the scale block around (row, col); 1 without scales.
__device__ __forceinline__ float scale_of(const Weight& w, int row, int col) {
  return w.dtype == DType::f8_e4m3
             ? __ldg(w.scale + row / kScaleBlock * w.scale_stride + col / kScaleBlock)
             : 1.0f;
}

}  // namespace fathom::cuda::mla
