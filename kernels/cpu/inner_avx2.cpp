// What is a vector of 16 floats with AVX2? Two registers, lanes 0..7 and 8..15, so sums have the
// lanes and the tree of every other instruction set. The loops are those of inner_vector.h. There
// is no masked access to 8 or 16 bit values here: ends of rows go through a zeroed buffer.
#include <cstdint>
#include <cstring>

#include "kernels/cpu/inner.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/cpu/exp_avx2.h"

namespace fathom {
namespace {

struct V {
  __m256 low, high;
};
constexpr int kTileRows =
    2;  // 4 accumulators of 2 registers; with 2 weights and a row of x 14 of 16
constexpr int kTileOuts = 2;

V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
V set1(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
V load_f32(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
void store_f32(float* p, V v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
V load_f32_part(const float* p, int32_t n) {
  float buffer[16] = {};
  std::memcpy(buffer, p, static_cast<size_t>(n) * 4);
  return load_f32(buffer);
}
void store_f32_part(float* p, V v, int32_t n) {
  float buffer[16];
  store_f32(buffer, v);
  std::memcpy(p, buffer, static_cast<size_t>(n) * 4);
}
V set2(float a, float b, int32_t edge) {
  float buffer[16];
  for (int32_t i = 0; i < 16; ++i) buffer[i] = i < edge ? a : b;
  return load_f32(buffer);
}
V fma(V a, V b, V c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
V mul(V a, V b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
V add(V a, V b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
V sub(V a, V b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
V div(V a, V b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
V max(V a, V b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
float first_of(V v) { return _mm256_cvtss_f32(v.low); }
float largest_of(V v, float other) {
  float buffer[16];
  store_f32(buffer, v);
  for (const float m : buffer)
    if (m > other) other = m;
  return other;
}

__m256 widen_bf16(__m128i h) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
__m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
V load_bf16(const uint16_t* p) { return {widen_bf16(load_128(p)), widen_bf16(load_128(p + 8))}; }
V load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(load_128(p)), _mm256_cvtph_ps(load_128(p + 8))};
}
V load_bf16_part(const uint16_t* p, int32_t n) {
  uint16_t buffer[16] = {};
  std::memcpy(buffer, p, static_cast<size_t>(n) * 2);
  return load_bf16(buffer);
}
V load_f16_part(const uint16_t* p, int32_t n) {
  uint16_t buffer[16] = {};
  std::memcpy(buffer, p, static_cast<size_t>(n) * 2);
  return load_f16(buffer);
}

// e4m3 fits into the exponent field of an f16, up to a factor 256 that the scales carry; 0x7F and
// 0xFF become NaN.
V load_e4m3(const uint8_t* p) {
  const __m256i bits = _mm256_slli_epi16(_mm256_cvtepi8_epi16(load_128(p)), 7);
  const __m256i nan = _mm256_cmpeq_epi16(_mm256_and_si256(bits, _mm256_set1_epi16(0x3F80)),
                                         _mm256_set1_epi16(0x3F80));
  const __m256i half =
      _mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi16(static_cast<int16_t>(0xBFFF))),
                      _mm256_and_si256(nan, _mm256_set1_epi16(0x7E00)));
  const V v = {_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
               _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
  return v;
}
V load_e4m3_part(const uint8_t* p, int32_t n) {
  uint8_t buffer[16] = {};
  std::memcpy(buffer, p, static_cast<size_t>(n));
  return load_e4m3(buffer);
}

// Round to nearest even in the upper half of each float.
__m256i rounded_bits(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  return _mm256_blendv_epi8(up, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}
__m256 round_half(__m256 v) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(rounded_bits(v), _mm256_set1_epi32(static_cast<int>(0xFFFF0000u))));
}
V round_bf16(V v) { return {round_half(v.low), round_half(v.high)}; }
void store_bf16(uint16_t* p, V v) {
  const __m256i low = _mm256_srli_epi32(rounded_bits(v.low), 16),
                high = _mm256_srli_epi32(rounded_bits(v.high), 16);
  // packus works inside 128-bit halves; the permutation puts the quarters in order.
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8));
}
void store_bf16_part(uint16_t* p, V v, int32_t n) {
  uint16_t buffer[16];
  store_bf16(buffer, v);
  std::memcpy(p, buffer, static_cast<size_t>(n) * 2);
}

float tree(V v) {
  const __m256 h = _mm256_add_ps(v.low, v.high);
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 pairs = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
[[maybe_unused]] void store_trees4(float* out, const V* v) {
  for (int i = 0; i < 4; ++i) out[i] = tree(v[i]);
}

V exp(V x) { return {exp_half(x.low), exp_half(x.high)}; }

}  // namespace
}  // namespace fathom

#include "kernels/cpu/inner_vector.h"

namespace fathom {
namespace {

const Inner kAvx2 = {.name = "avx2",
                     .packs_bf16 = false,
                     .dots = float_dots,
                     .combine = combine,
                     .widen = widen,
                     .pack = pack,
                     .sum_squares = sum_squares,
                     .scale_by = scale_by,
                     .swiglu = swiglu,
                     .softmax_tile = softmax_tile,
                     .multiply = multiply,
                     .add = add_to,
                     .axpy = axpy,
                     .burst = burst};

}  // namespace

const Inner* inner_avx2() {
  static const Inner inner = [] {
    Inner with_columns = kAvx2;
    with_columns.columns = column_kernel_avx2();
    return with_columns;
  }();
  return &inner;
}

}  // namespace fathom

#else

namespace fathom {

const Inner* inner_avx2() { return nullptr; }

}  // namespace fathom

#endif
