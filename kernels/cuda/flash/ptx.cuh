// What do attention kernels say to Hopper beyond what products say (gemm/ptx.cuh, gemm/wgmma.cuh)?
// Bulk copies without a tensor map, probabilities in registers times values as they lie (rows are
// positions), barriers of some warps, and 2^x.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::flash {

// `bytes` (a multiple of 16) from global memory; the barrier counts them.
__device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes,
                                          uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// What this thread stored to shared memory is visible to wgmma and bulk copies of whoever meets it
// at a barrier afterwards.
__device__ __forceinline__ void stores_before_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

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

#define FATHOM_D8(i)                                                                  \
  "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3]), "+f"(d[(i) + 4]), \
      "+f"(d[(i) + 5]), "+f"(d[(i) + 6]), "+f"(d[(i) + 7])

// d[64 x 128] += a[64 x 16] b[16 x 128]; a in registers, b described by columns_at.
__device__ __forceinline__ void add_product(float (&d)[64], uint32_t a0, uint32_t a1, uint32_t a2,
                                            uint32_t a3, uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
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
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
      : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}
#undef FATHOM_D8

}  // namespace fathom::cuda::flash
