// How is a tile of 48, 80, 96 or 112 tokens said to the tensor cores? By the wgmmas between those
// of gemm/wgmma.cuh, in their form, with weights in registers: an expert of 80 rows costs 80 and
// not 128.
#pragma once

#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::gemm {

template <>
struct Product<48> {
  static __device__ __forceinline__ void rb(float (&d)[24], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %29, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n48k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2
        "}, "
        "{%24, %25, %26, %27}, %28, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<80> {
  static __device__ __forceinline__ void rb(float (&d)[40], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %45, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4
        "}, "
        "{%40, %41, %42, %43}, %44, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<96> {
  static __device__ __forceinline__ void rb(float (&d)[48], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %53, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5
        "}, "
        "{%48, %49, %50, %51}, %52, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<112> {
  static __device__ __forceinline__ void rb(float (&d)[56], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %61, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n112k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6
        "}, "
        "{%56, %57, %58, %59}, %60, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
          FATHOM_D8(48)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

}  // namespace fathom::cuda::gemm
