// How is a 64 x N x 16 product of bf16 said to the tensor cores? wgmma: one warpgroup (128 threads)
// issues it, the accumulators are float32 registers of all its threads, operand B (N tokens) lies
// in shared memory, operand A (64 weight rows) there too or in registers. layout.h says which
// thread holds which element.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm/wgmma_operands.cuh"

namespace fathom::cuda::gemm {

// Registers handed to wgmma are the tensor cores' from `warpgroup_begin` until a wait says they are
// done.
__device__ __forceinline__ void warpgroup_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending committed groups are unfinished.
template <int kPending>
__device__ __forceinline__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// After such a wait: keeps the compiler from reading accumulators before it.
template <int kCount>
__device__ __forceinline__ void settle(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Describes rows of 128 bytes in shared memory, swizzled as TMA leaves them (128-byte swizzle), 8
// rows to 1024 bytes. The first row is 1024-byte aligned; 16 k further on is 32 bytes further on.
__device__ __forceinline__ uint64_t rows_at(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{1024 / 16} << 32;
  return kSwizzle128 | kEightRows | (uint64_t{1} << 16) | ((address & 0x3FFFF) >> 4);
}
constexpr uint64_t kSixteenDeeper = 32 / 16;  // added to a description

// d = a b (`add` false) or d += a b. `ab`: both operands described. `rb`: a in registers.
template <int kTokens>
struct Product;

template <>
struct Product<8> {
  static __device__ __forceinline__ void ab(float (&d)[4], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3"
        "}, "
        "%4, %5, p, 1, 1, 0, 0;\n}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[4], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %9, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3"
        "}, "
        "{%4, %5, %6, %7}, %8, p, 1, 1, 0;\n}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<16> {
  static __device__ __forceinline__ void ab(float (&d)[8], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {" FATHOM_P0
        "}, "
        "%8, %9, p, 1, 1, 0, 0;\n}\n"
        : FATHOM_D8(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[8], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %13, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {" FATHOM_P0
        "}, "
        "{%8, %9, %10, %11}, %12, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<32> {
  static __device__ __forceinline__ void ab(float (&d)[16], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        "}, "
        "%16, %17, p, 1, 1, 0, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[16], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        "}, "
        "{%16, %17, %18, %19}, %20, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<64> {
  static __device__ __forceinline__ void ab(float (&d)[32], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3
        "}, "
        "%32, %33, p, 1, 1, 0, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[32], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3
        "}, "
        "{%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<128> {
  static __device__ __forceinline__ void ab(float (&d)[64], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6 ", " FATHOM_P7
        "}, "
        "%64, %65, p, 1, 1, 0, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
          FATHOM_D8(48), FATHOM_D8(56)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[64], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6 ", " FATHOM_P7
        "}, "
        "{%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
          FATHOM_D8(48), FATHOM_D8(56)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

template <>
struct Product<256> {
  static __device__ __forceinline__ void ab(float (&d)[128], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FATHOM_ALL_P
        "}, "
        "%128, %129, p, 1, 1, 0, 0;\n}\n"
        : FATHOM_ALL_D
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[128], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FATHOM_ALL_P
        "}, "
        "{%128, %129, %130, %131}, %132, p, 1, 1, 0;\n}\n"
        : FATHOM_ALL_D
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

}  // namespace fathom::cuda::gemm
