// How do weights of attention meet the latents they weigh? sums[64 heads, 256 latents] += p[64, 16]
// v[16, 256] as one wgmma: v is read as it lies, token by token (its operand is "transposed"), p
// from shared memory or from registers.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::mla {

// Describes 16 tokens x 256 latents inside a tile of latents: boxes of 64 tokens x 128 bytes
// (128-byte swizzle), 8192 bytes apart along the latents; 8 tokens are 1024 bytes. `address` is
// that of the first token in the first of the four boxes, 1024-byte aligned.
__device__ __forceinline__ uint64_t values_at(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kNextBox = uint64_t{8192 / 16} << 16, kEightTokens = uint64_t{1024 / 16} << 32;
  return kSwizzle128 | kEightTokens | kNextBox | ((address & 0x3FFFF) >> 4);
}
constexpr uint64_t kSixteenTokens = 2048 / 16;  // added to a description

// p described (gemm::rows_at) in shared memory.
__device__ __forceinline__ void weigh(float (&d)[128], uint64_t p, uint64_t v) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FATHOM_ALL_P
               "}, %128, %129, 1, 1, 1, 0, 1;\n"
               : FATHOM_ALL_D
               : "l"(p), "l"(v));
}
// p in registers, as accumulators of 16 neighbouring positions hold it.
__device__ __forceinline__ void weigh(float (&d)[128], const uint32_t (&p)[4], uint64_t v) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FATHOM_ALL_P
               "}, {%128, %129, %130, %131}, %132, 1, 1, 1, 1;\n"
               : FATHOM_ALL_D
               : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v));
}

}  // namespace fathom::cuda::mla
