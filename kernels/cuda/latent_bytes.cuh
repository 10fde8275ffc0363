// How do latents become 8 bits on a GPU, and what do they stand for? As ops.h lays a token out:
// [scales | rope key | values]; byte for byte what kernels/cpu/latent_i8.cpp stores. A group that
// holds no number has a scale that is none, so whatever comes of it is none either.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/ops.h"

namespace fathom::cuda {

// Of a group's largest magnitude, and the sum of its values times 0.
__device__ __forceinline__ float byte_scale(float largest, float poison) {
  return largest / 127.0f + poison;
}
// 1 / scale; 0 where any value will do: of zeros, and of no numbers.
__device__ __forceinline__ float byte_inverse(float scale) {
  return scale > 0 ? 1.0f / scale : 0.0f;
}
// Of a scale so small that its inverse is infinite, 0 becomes 0 as well: 0 * inf rounds to it.
__device__ __forceinline__ int8_t to_byte(float v, float inverse) {
  if (!(inverse > 0)) return 0;
  return static_cast<int8_t>(min(max(__float2int_rn(__fmul_rn(v, inverse)), -127), 127));
}

// Where the parts of a token stand, in bytes from its first.
struct ByteToken {
  int32_t rank, rope;
  __host__ __device__ constexpr int32_t keys() const {
    return (rank + kLatentGroup - 1) / kLatentGroup * 4;
  }
  __host__ __device__ constexpr int32_t values() const { return keys() + rope * 2; }
  __host__ __device__ constexpr int32_t used() const { return values() + rank; }
  __host__ __device__ constexpr int64_t size() const { return (int64_t{used()} + 3) / 4 * 4; }

  // Element e of [latent | rope key].
  __device__ __forceinline__ float at(const uint8_t* token, int32_t e) const {
    if (e >= rank) return widen_bf16(reinterpret_cast<const uint16_t*>(token + keys())[e - rank]);
    const float scale = reinterpret_cast<const float*>(token)[e / kLatentGroup];
    return __fmul_rn(static_cast<float>(static_cast<int8_t>(token[values() + e])), scale);
  }
};

static_assert(ByteToken{33, 5}.size() == latent_stride(DType::i8, 33, 5));

// Four neighbouring bytes, the first in the lowest bits, as float32: below 2^23 a float's last bits
// count units, and taking the offset away again is one addition. Conversions are a quarter as fast.
__device__ __forceinline__ void widen_bytes(uint32_t four, float (&out)[4]) {
  const uint32_t shifted = four ^ 0x80808080u;  // 0 .. 255
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i)
    out[i] = __uint_as_float(__byte_perm(shifted, 0x4B000000u, 0x7440 | i)) - 8388736.0f;
}

}  // namespace fathom::cuda
