// How is a 64 x N x 16 product of bf16 said to the tensor cores? wgmma: one warpgroup (128 threads)
// issues it, the accumulators are float32 registers of all its threads, operand B (N tokens) lies
// in shared memory, operand A (64 weight rows) there too or in registers. layout.h says which
// thread holds which element.
#pragma once

#include <cstdint>

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

// The asm operands, eight at a time: their places in the text, and the registers.

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
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6 ", " FATHOM_P7
        ", " FATHOM_P8 ", " FATHOM_P9 ", " FATHOM_P10 ", " FATHOM_P11 ", " FATHOM_P12
        ", " FATHOM_P13 ", " FATHOM_P14 ", " FATHOM_P15
        "}, "
        "%128, %129, p, 1, 1, 0, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
          FATHOM_D8(48), FATHOM_D8(56), FATHOM_D8(64), FATHOM_D8(72), FATHOM_D8(80), FATHOM_D8(88),
          FATHOM_D8(96), FATHOM_D8(104), FATHOM_D8(112), FATHOM_D8(120)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  }
  static __device__ __forceinline__ void rb(float (&d)[128], const uint32_t (&a)[4], uint64_t b,
                                            bool add) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" FATHOM_P0 ", " FATHOM_P1
        ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5 ", " FATHOM_P6 ", " FATHOM_P7
        ", " FATHOM_P8 ", " FATHOM_P9 ", " FATHOM_P10 ", " FATHOM_P11 ", " FATHOM_P12
        ", " FATHOM_P13 ", " FATHOM_P14 ", " FATHOM_P15
        "}, "
        "{%128, %129, %130, %131}, %132, p, 1, 1, 0;\n}\n"
        : FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),
          FATHOM_D8(48), FATHOM_D8(56), FATHOM_D8(64), FATHOM_D8(72), FATHOM_D8(80), FATHOM_D8(88),
          FATHOM_D8(96), FATHOM_D8(104), FATHOM_D8(112), FATHOM_D8(120)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
  }
};

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

}  // namespace fathom::cuda::gemm
