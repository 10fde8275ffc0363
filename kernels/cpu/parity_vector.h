// How does AVX2 split sixteen numbers into even and odd lanes, and add the lanes up at the end?
// These are the primitives of parity_avx2.cpp, in the includer's anonymous namespace: no copy of
// them may be linked into code that runs on older machines.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

namespace fathom {
namespace {

inline __m256i load_256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
// Into a register for certain: as a factor in memory it would be loaded once for every product, and
// two loads a cycle are the limit then.
inline __m256 loaded(const float* p) {
  __m256 v = _mm256_load_ps(p);
  asm("" : "+x"(v));
  return v;
}

// Of pairs of bf16. The mask is taken from memory: a tile of 4 x 3 leaves no register for it.
alignas(32) constexpr uint32_t kUpperHalves[8] = {0xFFFF0000u, 0xFFFF0000u, 0xFFFF0000u,
                                                  0xFFFF0000u, 0xFFFF0000u, 0xFFFF0000u,
                                                  0xFFFF0000u, 0xFFFF0000u};
inline __m256 even_of(__m256i v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
inline __m256 odd_of(__m256i v) {
  __m256i mask;
  asm("vpand %2, %1, %0"
      : "=x"(mask)
      : "x"(v), "m"(*reinterpret_cast<const __m256i*>(kUpperHalves)));
  return _mm256_castsi256_ps(mask);
}
template <bool Odd>
__m256 parity_of(__m256i v) {
  return Odd ? odd_of(v) : even_of(v);
}
// The even or odd half of sixteen floats.
template <bool Odd>
__m256 parity_of(const float* p) {
  const __m256 both =
      _mm256_shuffle_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8), Odd ? 0xDD : 0x88);
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(both), 0xD8));
}

// What of e4m3 stands where bf16 has it, in the upper halves: sign, exponent and mantissa. The mask
// is taken from memory: accumulators leave no register for it.
alignas(32) constexpr uint32_t kFields[8] = {0x87F00000u, 0x87F00000u, 0x87F00000u, 0x87F00000u,
                                             0x87F00000u, 0x87F00000u, 0x87F00000u, 0x87F00000u};
inline __m256 fields_of(__m256i v) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(v, _mm256_load_si256(reinterpret_cast<const __m256i*>(kFields))));
}

// The scales of the block of rows that `row` is in, one for each block of columns.
inline const float* scales_at(const Weight& w, int32_t row) {
  return w.scale + (row + w.scale_row) / kScaleBlock * w.scale_stride;
}

// Eight trees over the eight lanes of one parity, in the order of `tree`: i + 8, i + 4, i + 2. The
// vectors stand one behind the other at v; `count` >= 1 of them are given, the last stands for the
// rest.
inline __m256 eight_trees(const float* v, int32_t count) {
  const auto at = [&](int i) { return _mm256_load_ps(v + (i < count ? i : count - 1) * 8); };
  const auto half = [](__m256 a, __m256 b, int which) {
    return which ? _mm256_permute2f128_ps(a, b, 0x31) : _mm256_permute2f128_ps(a, b, 0x20);
  };
  const auto pair = [](__m256 a, __m256 b, int which) {
    const __m256d c = _mm256_castps_pd(a), d = _mm256_castps_pd(b);
    return _mm256_castpd_ps(which ? _mm256_unpackhi_pd(c, d) : _mm256_unpacklo_pd(c, d));
  };
  const auto one = [](__m256 a, __m256 b, int which) {
    return which ? _mm256_shuffle_ps(a, b, 0xDD) : _mm256_shuffle_ps(a, b, 0x88);
  };
  const auto sum = [](const auto& take, __m256 a, __m256 b) {
    return _mm256_add_ps(take(a, b, 0), take(a, b, 1));
  };
  const __m256 a = sum(pair, sum(half, at(0), at(4)), sum(half, at(1), at(5)));
  const __m256 b = sum(pair, sum(half, at(2), at(6)), sum(half, at(3), at(7)));
  return sum(one, a, b);
}

}  // namespace
}  // namespace fathom

#endif
