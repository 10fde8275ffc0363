// What does a token weigh in a draw? exp((logit - largest) / temperature), rounded to a whole
// number of 2^-35: sums of such weights are exact in double (and in whole numbers) for up to 2^18
// tokens, so their order, and with it the kind of machine, can not change a token. What is lighter
// than half of 2^-35 (24.9 below the largest) weighs nothing. Host and device run the same lines.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define FATHOM_WEIGHT __host__ __device__ __forceinline__
#else
#define FATHOM_WEIGHT inline
#endif

namespace fathom {

inline constexpr int kWeightBits = 35;

// Float32 steps that no compiler may fuse: a fused one rounds once less.
namespace unfused {
#if defined(__CUDA_ARCH__)
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float div(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ uint32_t bits(float a) { return __float_as_uint(a); }
__device__ __forceinline__ float of_bits(uint32_t a) { return __uint_as_float(a); }
#else
FATHOM_WEIGHT float add(float a, float b) { return a + b; }
FATHOM_WEIGHT float sub(float a, float b) { return a - b; }
FATHOM_WEIGHT float mul(float a, float b) { return a * b; }
FATHOM_WEIGHT float div(float a, float b) { return a / b; }
FATHOM_WEIGHT uint32_t bits(float a) { return std::bit_cast<uint32_t>(a); }
FATHOM_WEIGHT float of_bits(uint32_t a) { return std::bit_cast<float>(a); }
#endif
}  // namespace unfused

// How far a logit stands below the largest, in units of the temperature; never rises as x falls.
FATHOM_WEIGHT float below_largest(float x, float largest, float temperature) {
  return unfused::div(unfused::sub(x, largest), temperature);
}

// e^y for y <= 0 to 2 units of the last place, then rounded as said above: arithmetic without
// calls, which compilers turn into vectors. 2^n e^r with |r| <= ln(2) / 2; adding and taking away
// 1.5 * 2^23 rounds to the nearest whole number, and 2^-12 to one of 2^-35.
FATHOM_WEIGHT float weight_of(float y) {
  using namespace unfused;
  constexpr float kRound = 12582912.0f, kGrid = 0x1p-12f;
  const float bounded = y < -87.0f ? -87.0f : y;
  const float shifted = add(mul(bounded, 1.44269504f), kRound);
  const float n = sub(shifted, kRound);
  const float r = add(sub(bounded, mul(n, 0.693359375f)), mul(n, 2.12194440e-4f));
  float p = 1.0f / 720;
  p = add(mul(p, r), 1.0f / 120);
  p = add(mul(p, r), 1.0f / 24);
  p = add(mul(p, r), 1.0f / 6);
  p = add(mul(p, r), 0.5f);
  p = add(mul(p, r), 1.0f);
  p = add(mul(p, r), 1.0f);
  const uint32_t power = (bits(shifted) - bits(kRound) + 127) << 23;
  const float w = mul(p, of_bits(power));  // 0 on the grid below -24.9
  return w < kGrid ? sub(add(w, kGrid), kGrid) : w;
}

// Min-p as a bound on below_largest: tokens of at least min_p times the likeliest.
inline float lowest_by_min_p(float min_p) { return std::log(min_p); }

}  // namespace fathom
