// How is a 64 x N x 32 product of e4m3 said to the tensor cores? By wgmma as in wgmma.cuh, both
// operands described. Hopper adds such products with about 14 bits, whatever the accumulators are:
// four of them (128 k) are one sum, started afresh; what is kept longer is float32's, slab.cuh's.
#pragma once

#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::gemm {

// d = a b (`add` false) or d += a b; 32 k further on is 32 bytes further on, as 16 of bf16 are.
template <int kTokens>
struct ByteProduct;

template <>
struct ByteProduct<8> {
  static __device__ __forceinline__ void ab(float (&d)[4], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3"
        "}, "
        "%4, %5, p, 1, 1;\n}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct ByteProduct<16> {
  static __device__ __forceinline__ void ab(float (&d)[8], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k32.f32.e4m3.e4m3 {" FATHOM_P0
        "}, "
        "%8, %9, p, 1, 1;\n}\n"
        : FATHOM_D8(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct ByteProduct<32> {
  static __device__ __forceinline__ void ab(float (&d)[16], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 {" FATHOM_P0 ", " FATHOM_P1
        "}, "
        "%16, %17, p, 1, 1;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct ByteProduct<64> {
  static __device__ __forceinline__ void ab(float (&d)[32], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3
        "}, "
        "%32, %33, p, 1, 1;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct ByteProduct<128> {
  static __device__ __forceinline__ void ab(float (&d)[64], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6 ", " FATHOM_P7
        "}, "
        "%64, %65, p, 1, 1;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
          FATHOM_D8(48), FATHOM_D8(56)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
};

}  // namespace fathom::cuda::gemm
