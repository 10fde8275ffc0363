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
#ifdef FATHOM_SWAPPED_STRIDES
  constexpr uint64_t kNextBox = uint64_t{8192 / 16} << 32, kEightTokens = uint64_t{1024 / 16} << 16;
#else
  constexpr uint64_t kNextBox = uint64_t{8192 / 16} << 16, kEightTokens = uint64_t{1024 / 16} << 32;
#endif
  return kSwizzle128 | kEightTokens | kNextBox | ((address & 0x3FFFF) >> 4);
}
constexpr uint64_t kSixteenTokens = 2048 / 16;  // added to a description

#define FATHOM_P0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FATHOM_P1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define FATHOM_P2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define FATHOM_P3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define FATHOM_P4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define FATHOM_P5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define FATHOM_P6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define FATHOM_P7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define FATHOM_P8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define FATHOM_P9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define FATHOM_P10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define FATHOM_P11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define FATHOM_P12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define FATHOM_P13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define FATHOM_P14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define FATHOM_P15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define FATHOM_D8(i)                                                                  \
  "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3]), "+f"(d[(i) + 4]), \
      "+f"(d[(i) + 5]), "+f"(d[(i) + 6]), "+f"(d[(i) + 7])
#define FATHOM_ALL_P                                                                    \
  FATHOM_P0 ", " FATHOM_P1 ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5  \
            ", " FATHOM_P6 ", " FATHOM_P7 ", " FATHOM_P8 ", " FATHOM_P9 ", " FATHOM_P10 \
            ", " FATHOM_P11 ", " FATHOM_P12 ", " FATHOM_P13 ", " FATHOM_P14 ", " FATHOM_P15
#define FATHOM_ALL_D                                                                            \
  FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),       \
      FATHOM_D8(48), FATHOM_D8(56), FATHOM_D8(64), FATHOM_D8(72), FATHOM_D8(80), FATHOM_D8(88), \
      FATHOM_D8(96), FATHOM_D8(104), FATHOM_D8(112), FATHOM_D8(120)

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

#undef FATHOM_P0
#undef FATHOM_P1
#undef FATHOM_P2
#undef FATHOM_P3
#undef FATHOM_P4
#undef FATHOM_P5
#undef FATHOM_P6
#undef FATHOM_P7
#undef FATHOM_P8
#undef FATHOM_P9
#undef FATHOM_P10
#undef FATHOM_P11
#undef FATHOM_P12
#undef FATHOM_P13
#undef FATHOM_P14
#undef FATHOM_P15
#undef FATHOM_D8
#undef FATHOM_ALL_P
#undef FATHOM_ALL_D

}  // namespace fathom::cuda::mla
