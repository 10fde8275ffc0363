// How does a tile of latents come to lie in shared memory where the cache holds 8 bits? As the copy
// engine would leave one of bf16 (boxes of 64 values, 128-byte swizzle), by four warps: each widens
// a quarter, 16 positions, which lie in one block of the cache. What is read next is asked into the
// L2 cache two tiles ahead, since the few registers of these warps can not hold enough loads to
// wait for memory.
#pragma once

#include "kernels/cuda/gemm/layout.h"
#include "kernels/cuda/latent_bytes.cuh"
#include "kernels/cuda/mla/split.h"

namespace fathom::cuda::mla {

inline constexpr int kTokenBytes = static_cast<int>(ByteToken{kRank, kRope}.size());
inline constexpr int kKeysAt = ByteToken{kRank, kRope}.keys();
inline constexpr int kBytesAt = ByteToken{kRank, kRope}.values();
inline constexpr int kUnitBytes = kTokenBytes * kBlockUnit;
static_assert(kTokenBytes % 16 == 0 && kKeysAt % 16 == 0 && kBytesAt % 16 == 0);

__device__ __forceinline__ void fetch_unit(const uint8_t* unit) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(unit), "n"(kUnitBytes)
               : "memory");
}

__device__ __forceinline__ void store_shared(uint32_t to, const uint4& v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

// Eight neighbouring values times their scale, each product rounded to float32 and then to bf16.
__device__ __forceinline__ uint4 widen_eight(uint32_t low, uint32_t high, float scale) {
  float a[4], b[4];
  widen_bytes(low, a);
  widen_bytes(high, b);
  const auto pair = [scale](float x, float y) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(__fmul_rn(x, scale), __fmul_rn(y, scale));
    return *reinterpret_cast<const uint32_t*>(&both);
  };
  return {pair(a[0], a[1]), pair(a[2], a[3]), pair(b[0], b[1]), pair(b[2], b[3])};
}

// The 16 tokens at `unit` into rows `row` .. row + 15 of a tile whose boxes are box_bytes apart. By
// one warp; row is a multiple of 16.
__device__ __forceinline__ void widen_unit(const uint8_t* unit, uint32_t tile, int box_bytes,
                                           int row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Rope keys are bf16 already: eight lanes a token.
  const uint32_t keys = tile + kRank / 64 * box_bytes + row * 128;
#pragma unroll
  for (int i = 0; i < kBlockUnit / 4; ++i) {
    const int token = i * 4 + lane / 8;
    const auto* from = unit + token * kTokenBytes + kKeysAt;
    store_shared(keys + gemm::swizzled(token, lane % 8 * 16),
                 *reinterpret_cast<const uint4*>(from + lane % 8 * 16));
  }
  // Latents: a lane has 16 values of each token, a quarter of a group and of a box's row: two
  // pieces side by side. Lanes of odd boxes store their second first, so that eight lanes reach all
  // banks.
  constexpr int kAtOnce = 8;
  const uint32_t box = tile + lane / 4 * box_bytes + row * 128;
  const bool odd = lane / 4 % 2 == 1;
  const int piece = lane % 4 * 2 + (odd ? 1 : 0);
#pragma unroll 1
  for (int begin = 0; begin < kBlockUnit; begin += kAtOnce) {
    uint4 v[kAtOnce];
    float scale[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const uint8_t* from = unit + (begin + i) * kTokenBytes;
      v[i] = *reinterpret_cast<const uint4*>(from + kBytesAt + lane * 16);
      scale[i] = *reinterpret_cast<const float*>(from + lane / 4 * 4);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const uint32_t at = box + gemm::swizzled(begin + i, piece * 16);
      store_shared(at, widen_eight(odd ? v[i].z : v[i].x, odd ? v[i].w : v[i].y, scale[i]));
      store_shared(at ^ 16, widen_eight(odd ? v[i].x : v[i].z, odd ? v[i].y : v[i].w, scale[i]));
    }
  }
}

}  // namespace fathom::cuda::mla
