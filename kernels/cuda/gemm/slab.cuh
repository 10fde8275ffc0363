// How does one warpgroup multiply its 64 weight rows with a tile of tokens? It follows the ring of
// stages the copy engine fills: bf16 weights go from shared memory straight into wgmma; FP8 weights
// are decoded into registers as bf16 (exactly), and every 128 k the float32 partial sum is scaled
// and added: acc = fma(scale, part, acc). Codes of both sides go straight into wgmma, and the scale
// is the weights' times the token's. An output's operations and their order are the same for every
// number of tokens in the tile.
#pragma once

#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/shape.h"
#include "kernels/cuda/gemm/wgmma.cuh"
#include "kernels/cuda/gemm/wgmma_e4m3.cuh"

namespace fathom::cuda::gemm {

// A place in the ring, and how often it went round.
template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Shared addresses of the ring: stages, two barriers for each, and scales of their tokens.
template <class Layout>
struct Ring {
  uint32_t stages, full, empty, token_scales;
  __device__ __forceinline__ uint32_t stage(int s) const { return stages + s * Layout::kBytes; }
  __device__ __forceinline__ uint32_t scales(int s) const {
    return token_scales + s * Layout::kScaleBytes;
  }
  __device__ __forceinline__ uint32_t filled(int s) const { return full + s * 8; }
  __device__ __forceinline__ uint32_t freed(int s) const { return empty + s * 8; }
};

__device__ __forceinline__ void load_two(uint32_t address, float& a, float& b) {
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(a), "=f"(b) : "r"(address) : "memory");
}
__device__ __forceinline__ uint32_t load_pair(uint32_t address) {  // two bytes of shared memory
  uint16_t pair;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(pair) : "r"(address));
  return pair;
}

// Two e4m3 codes (low byte first) as two bf16, exactly, subnormals too: sign, exponent and mantissa
// bits moved to their places in bf16 are the value times 2^-120. Codes of not-a-number come out as
// 480; `largest` keeps the largest magnitude seen, so the caller knows: see not_a_number. The
// shifts are said as multiply-adds (code * 256 - magnitude * 240 = sign * 256 + magnitude * 16),
// because the pipe for logic is the busiest here.
__device__ __forceinline__ uint32_t decode_pair(uint32_t pair, uint32_t& largest) {
  const uint32_t spread = __byte_perm(pair, 0, 0x4140);
  const uint32_t magnitude = spread & 0x007F007Fu;
  largest = __vmaxu2(largest, magnitude);
  uint32_t high, small, value;
  asm("mul.lo.u32 %0, %1, 256;" : "=r"(high) : "r"(spread));
  asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(small) : "r"(magnitude), "r"(0u - 240u), "r"(high));
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(value) : "r"(small), "r"(0x7B807B80u));  // 2^120
  return value;
}
__device__ __forceinline__ bool not_a_number(uint32_t largest) {
  return (largest & 0xFFFFu) == 0x7Fu || (largest >> 16) == 0x7Fu;
}

// The 64 x 128 weights of a slab as operand A of eight wgmmas.
struct Decoded {
  uint32_t a[8][4];
};
__device__ __forceinline__ void decode_slab(uint32_t slab, Decoded& out, uint32_t (&largest)[2]) {
  const int t = threadIdx.x % 128;
  const uint32_t row = slab + slab_row(t, 0) * 128 + t % 4 * 2;
  const uint32_t turn = slab_row(t, 0) % 8 * 16;
#pragma unroll
  for (int s = 0; s < 8; ++s) {
    const uint32_t at = row + (turn ^ (s * 16));
    out.a[s][0] = decode_pair(load_pair(at), largest[0]);
    out.a[s][1] = decode_pair(load_pair(at + 1024), largest[1]);
    out.a[s][2] = decode_pair(load_pair(at + 8), largest[0]);
    out.a[s][3] = decode_pair(load_pair(at + 1032), largest[1]);
  }
}

// Stages [0, steps) from `turn` on, summed into acc (overwritten). Each warp tells the producers
// when a stage may be filled again. slab: of this block. scale: of the slab's rows, one for each
// 128 k; null for bf16.
template <class S>
struct Slab {
  using Layout = typename S::Layout;
  using Place = Turn<S::kStages>;
  using Stages = Ring<Layout>;
  static constexpr int kTokens = S::kTokens;
  static constexpr int kHeld = kTokens / 2;

  static __device__ __forceinline__ void release(const Stages& ring, int stage) {
    const uint32_t lane = threadIdx.x % 32;
    if constexpr (S::kPaired) {
      if (lane < 2) barrier_arrive_in(in_block(ring.freed(stage), lane));
    } else {
      if (lane == 0) barrier_arrive(ring.freed(stage));
    }
  }

  static __device__ __forceinline__ void bf16(const Stages& ring, Place& turn, int steps, int slab,
                                              float (&acc)[kHeld]) {
    int before = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) acc[i] = 0;
    for (int step = 0; step < steps; ++step) {
      barrier_wait(ring.filled(turn.stage), turn.parity);
      const uint32_t at = ring.stage(turn.stage);
      const uint64_t a = rows_at(at + slab * kSlabRows * 128);
      const uint64_t b = rows_at(at + Layout::kWeightBytes);
      warpgroup_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        Product<kTokens>::ab(acc, a + k * kSixteenDeeper, b + k * kSixteenDeeper, true);
      warpgroup_commit();
      warpgroup_wait<1>();
      if (step > 0) release(ring, before);
      before = turn.stage;
      turn.next();
    }
    warpgroup_wait<0>();
    settle(acc);
    release(ring, before);
  }

  static __device__ __forceinline__ void multiply(uint32_t tokens, const Decoded& weights,
                                                  float (&part)[kHeld]) {
    warpgroup_begin();
#pragma unroll
    for (int k = 0; k < 8; ++k)
      Product<kTokens>::rb(part, weights.a[k],
                           rows_at(tokens + k / 4 * Layout::kPieceBytes) + k % 4 * kSixteenDeeper,
                           k > 0);
    warpgroup_commit();
  }

  // The tensor cores work on one stage while the next is decoded.
  static __device__ __forceinline__ void e4m3(const Stages& ring, Place& turn, int steps, int slab,
                                              const float* scale, float (&acc)[kHeld]) {
    Decoded even, odd;
    float part[kHeld];
    uint32_t largest[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < kHeld; ++i) acc[i] = 0;
    const uint32_t at = slab * kSlabRows * 128;
    float factor = __ldg(scale);
    barrier_wait(ring.filled(turn.stage), turn.parity);
    decode_slab(ring.stage(turn.stage) + at, even, largest);
    const auto step = [&](int i, const Decoded& now, Decoded& then) {
      const int stage = turn.stage;
      const float scaled = factor;
      multiply(ring.stage(stage) + Layout::kWeightBytes, now, part);
      turn.next();
      if (i + 1 < steps) {
        factor = __ldg(scale + i + 1);
        barrier_wait(ring.filled(turn.stage), turn.parity);
        decode_slab(ring.stage(turn.stage) + at, then, largest);
      }
      warpgroup_wait<0>();
      settle(part);
      release(ring, stage);
#pragma unroll
      for (int k = 0; k < kHeld; ++k) acc[k] = fmaf(scaled, part[k], acc[k]);
    };
    for (int i = 0; i < steps; i += 2) {
      step(i, even, odd);
      if (i + 1 < steps) step(i + 1, odd, even);
    }
    poison(largest, acc);
  }

  // The other warpgroup's products fill the time between these.
  static __device__ __forceinline__ void codes(const Stages& ring, Place& turn, int steps, int slab,
                                               const float* scale, float (&acc)[kHeld]) {
    const uint32_t first = threadIdx.x % 4 * 2 * 4;  // of this thread's pairs of tokens
    float part[kHeld];
#pragma unroll
    for (int i = 0; i < kHeld; ++i) acc[i] = 0;
    for (int step = 0; step < steps; ++step) {
      const float of_weights = __ldg(scale + step);
      barrier_wait(ring.filled(turn.stage), turn.parity);
      const uint32_t at = ring.stage(turn.stage);
      const uint64_t a = rows_at(at + slab * kSlabRows * 128);
      const uint64_t b = rows_at(at + Layout::kWeightBytes);
      float factors[kTokens / 4];
#pragma unroll
      for (int i = 0; i < kTokens / 8; ++i)
        load_two(ring.scales(turn.stage) + first + i * 8 * 4, factors[2 * i], factors[2 * i + 1]);
      warpgroup_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        ByteProduct<kTokens>::ab(part, a + k * kSixteenDeeper, b + k * kSixteenDeeper, k > 0);
      warpgroup_commit();
#pragma unroll
      for (int i = 0; i < kTokens / 4; ++i) factors[i] *= of_weights;
      warpgroup_wait<0>();
      settle(part);
      release(ring, turn.stage);
      turn.next();
#pragma unroll
      for (int i = 0; i < kHeld; ++i) acc[i] = fmaf(factors[i / 4 * 2 + i % 2], part[i], acc[i]);
    }
  }

  // A row with a weight that is not a number has no numbers among its products.
  static __device__ __forceinline__ void poison(const uint32_t (&largest)[2], float (&acc)[kHeld]) {
    bool bad[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      bad[half] = not_a_number(largest[half]);
      bad[half] |= __shfl_xor_sync(~0u, bad[half], 1);
      bad[half] |= __shfl_xor_sync(~0u, bad[half], 2);
    }
    if (!bad[0] && !bad[1]) return;
#pragma unroll
    for (int i = 0; i < kHeld; ++i)
      if (bad[i / 2 % 2]) acc[i] = __int_as_float(0x7FFFFFFF);
  }

  static __device__ __forceinline__ void run(const Stages& ring, Place& turn, int steps, int slab,
                                             const float* scale, float (&acc)[kHeld]) {
    if constexpr (S::kElement == Element::bf16)
      bf16(ring, turn, steps, slab, acc);
    else if constexpr (S::kElement == Element::codes)
      codes(ring, turn, steps, slab, scale, acc);
    else
      e4m3(ring, turn, steps, slab, scale, acc);
  }
};

}  // namespace fathom::cuda::gemm
