// What is e^x of eight floats? 2^n e^r as in inner_avx512.cpp, with 2^n in two factors, since 2^128
// is no float. Everything is in the including file's anonymous namespace, which is built for AVX2.
#pragma once

#include <immintrin.h>

namespace fathom {
namespace {

__m256 power_of_two(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

__m256 exp_half(__m256 x) {
  const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.33f), _CMP_LT_OQ);
  x = _mm256_max_ps(_mm256_set1_ps(-88.0f), _mm256_min_ps(_mm256_set1_ps(89.0f), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.0f / 720);
  const float rest[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (const float c : rest) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
  const __m256 e = _mm256_mul_ps(_mm256_mul_ps(p, power_of_two(half)),
                                 power_of_two(_mm256_sub_epi32(whole, half)));
  return _mm256_andnot_ps(tiny, e);
}

}  // namespace
}  // namespace fathom
