// What do attention kernels say to Hopper beyond what products say (gemm/ptx.cuh, gemm/wgmma.cuh)?
// Probabilities in registers times values as they lie (rows are positions), barriers of some warps,
// and 2^x.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::flash {

template <int kThreads>
__device__ __forceinline__ void meet(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}
template <int kThreads>
__device__ __forceinline__ void pass(int barrier) {  // arrives and goes on
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Low half first.
__device__ __forceinline__ uint32_t pack(float low, float high) {
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

// Describes rows of positions as operand B whose inner axis is not the summed one: pieces of 64
// columns are kPieceBytes apart, 8 positions are 1024 bytes. 16 positions further on is 2048 bytes
// further on.
template <int kPieceBytes>
__device__ __forceinline__ uint64_t columns_at(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | (uint64_t{1024 / 16} << 32) | (uint64_t{kPieceBytes / 16} << 16) |
         ((address & 0x3FFFF) >> 4);
}
constexpr uint64_t kSixteenPositions = 2048 / 16;  // added to a description

// d[64 x 128] += a[64 x 16] b[16 x 128]; a in registers, b described by columns_at.
__device__ __forceinline__ void add_product(float (&d)[64], uint32_t a0, uint32_t a1, uint32_t a2,
                                            uint32_t a3, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
      ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6 ", " FATHOM_P7
      "}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
      : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
        FATHOM_D8(48), FATHOM_D8(56)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}
// d[64 x 64], the same.
__device__ __forceinline__ void add_product(float (&d)[32], uint32_t a0, uint32_t a1, uint32_t a2,
                                            uint32_t a3, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
      ", " FATHOM_P2 ", " FATHOM_P3
      "}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
      : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

}  // namespace fathom::cuda::flash
