// What is a vector of 16 floats with AVX-512? One register. The loops are those of inner_vector.h;
// with the BF16 dot product, packed bf16 rows are multiplied 32 values an instruction. e4m3 widens
// by way of f16, whose exponent field it fits into: exact up to a factor 256, which is multiplied
// in.
#include <cstdint>
#include <cstring>

#include "kernels/cpu/inner.h"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace fathom {
namespace {

using V = __m512;
constexpr int kTileRows = 6;  // 24 accumulators, 4 weights, 1 row of x: 29 of 32 registers
constexpr int kTileOuts = 4;

__mmask16 first(int32_t n) { return static_cast<__mmask16>((1u << n) - 1); }

V zero() { return _mm512_setzero_ps(); }
V set1(float v) { return _mm512_set1_ps(v); }
V set2(float a, float b, int32_t edge) {
  return _mm512_mask_blend_ps(first(edge), set1(b), set1(a));
}
V load_f32(const float* p) { return _mm512_loadu_ps(p); }
V load_f32_part(const float* p, int32_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
void store_f32(float* p, V v) { _mm512_storeu_ps(p, v); }
void store_f32_part(float* p, V v, int32_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
V mul(V a, V b) { return _mm512_mul_ps(a, b); }
V add(V a, V b) { return _mm512_add_ps(a, b); }
V sub(V a, V b) { return _mm512_sub_ps(a, b); }
V div(V a, V b) { return _mm512_div_ps(a, b); }
V max(V a, V b) { return _mm512_max_ps(a, b); }
float first_of(V v) { return _mm512_cvtss_f32(v); }
float largest_of(V v, float other) {
  const float m = _mm512_reduce_max_ps(v);
  return m > other ? m : other;
}

V widen_bf16(__m256i h) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
__m256i load_u16(const uint16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
__m256i load_u16_part(const uint16_t* p, int32_t n) {
  return _mm256_maskz_loadu_epi16(first(n), p);
}
V load_bf16(const uint16_t* p) { return widen_bf16(load_u16(p)); }
V load_bf16_part(const uint16_t* p, int32_t n) { return widen_bf16(load_u16_part(p, n)); }
V load_f16(const uint16_t* p) { return _mm512_cvtph_ps(load_u16(p)); }
V load_f16_part(const uint16_t* p, int32_t n) { return _mm512_cvtph_ps(load_u16_part(p, n)); }

V widen_e4m3(__m128i q) {
  // Sign, four bits of exponent and three of mantissa, at their places in an f16; 0x7F and 0xFF
  // become NaN.
  const __m256i bits = _mm256_slli_epi16(_mm256_cvtepi8_epi16(q), 7);
  const __mmask16 nan = _mm256_cmpeq_epi16_mask(_mm256_and_si256(bits, _mm256_set1_epi16(0x3F80)),
                                                _mm256_set1_epi16(0x3F80));
  const __m256i half =
      _mm256_mask_mov_epi16(_mm256_and_si256(bits, _mm256_set1_epi16(static_cast<int16_t>(0xBFFF))),
                            nan, _mm256_set1_epi16(0x7E00));
  return _mm512_cvtph_ps(half);
}
V load_e4m3(const uint8_t* p) {
  return widen_e4m3(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
V load_e4m3_part(const uint8_t* p, int32_t n) {
  return widen_e4m3(_mm_maskz_loadu_epi8(first(n), p));
}

// Round to nearest even in the upper half of each float.
__m512i rounded_bits(V v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
}
V round_bf16(V v) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(rounded_bits(v), _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
}
void store_bf16(uint16_t* p, V v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_bits(v), 16)));
}
void store_bf16_part(uint16_t* p, V v, int32_t n) {
  _mm256_mask_storeu_epi16(p, first(n),
                           _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_bits(v), 16)));
}

__m256 add_halves(V v) {
  return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}
__m128 add_quarters(V v) {
  const __m256 h = add_halves(v);
  return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}
float tree(V v) {
  const __m128 q = add_quarters(v);
  const __m128 pairs = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
// Four trees at once, in the order of `tree`.
void store_trees4(float* out, const V* v) {
  const __m128 a = add_quarters(v[0]), b = add_quarters(v[1]), c = add_quarters(v[2]),
               d = add_quarters(v[3]);
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
  _mm_storeu_ps(out, _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab)));
}

// e^x = 2^n e^r with |r| <= ln(2) / 2 and a polynomial of degree 6 for e^r: within 2 units of the
// last place.
V exp(V x) {
  // Below the smallest normal number the result is 0: subnormal factors would slow later sums a
  // hundredfold.
  const __mmask16 tiny = _mm512_cmp_ps_mask(x, set1(-87.33f), _CMP_LT_OQ);
  x = _mm512_max_ps(set1(-88.0f), _mm512_min_ps(set1(200.0f), x));
  const V n = _mm512_roundscale_ps(mul(x, set1(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  V r = _mm512_fnmadd_ps(n, set1(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, set1(-2.12194440e-4f), r);
  V p = set1(1.0f / 720);
  p = fma(p, r, set1(1.0f / 120));
  p = fma(p, r, set1(1.0f / 24));
  p = fma(p, r, set1(1.0f / 6));
  p = fma(p, r, set1(0.5f));
  p = fma(p, r, set1(1.0f));
  p = fma(p, r, set1(1.0f));
  return _mm512_mask_blend_ps(tiny, _mm512_scalef_ps(p, n), zero());
}

}  // namespace
}  // namespace fathom

#include "kernels/cpu/inner_vector.h"

namespace fathom {
namespace {

// bf16 weights are taken as they are; all others are widened and rounded, 32 at a time.
__m512bh join(V low, V high) { return _mm512_cvtne2ps_pbh(high, low); }
__m512bh as_bh(__m512i bits) {
  __m512bh v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

struct PackedBf16 {
  using X = uint16_t;
  using Vector = __m512bh;
  static constexpr int32_t kStep = 32;
  const uint16_t* data;
  int64_t stride;
  static Vector x(const uint16_t* p) { return as_bh(_mm512_loadu_si512(p)); }
  static Vector x_part(const uint16_t* p, int32_t n) {
    return as_bh(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), p));
  }
  Vector weight(int32_t row, int32_t k) const { return x(data + row * stride + k); }
  Vector weight_part(int32_t row, int32_t k, int32_t n) const {
    return x_part(data + row * stride + k, n);
  }
  static V add_product(V acc, Vector a, Vector b) { return _mm512_dpbf16_ps(acc, a, b); }
};

template <class W>
struct PackedOther {
  using X = uint16_t;
  using Vector = __m512bh;
  static constexpr int32_t kStep = 32;
  W w;
  static Vector x(const uint16_t* p) { return PackedBf16::x(p); }
  static Vector x_part(const uint16_t* p, int32_t n) { return PackedBf16::x_part(p, n); }
  Vector weight(int32_t row, int32_t k) const { return join(w.load(row, k), w.load(row, k + 16)); }
  Vector weight_part(int32_t row, int32_t k, int32_t n) const {
    if (n <= 16) return join(w.load_part(row, k, n), zero());
    return join(w.load(row, k), w.load_part(row, k + 16, n - 16));
  }
  static V add_product(V acc, Vector a, Vector b) { return _mm512_dpbf16_ps(acc, a, b); }
};

template <class W>
void pack_row(const PackedOther<W>& w, int32_t row, int32_t n, uint16_t* out) {
  int32_t k = 0;
  for (; k + 32 <= n; k += 32) {
    const __m512bh v = w.weight(row, k);
    std::memcpy(out + k, &v, sizeof v);
  }
  if (k < n) {
    const __m512bh v = w.weight_part(row, k, n - k);
    std::memcpy(out + k, &v, sizeof v);  // the panel's rows are padded to 32
  }
}

template <class W>
void packed_dots_of(const DotsParams& p, const PackedOther<W>& w) {
  const int32_t n = p.w.cols;
  const int64_t stride = (n + 31) / 32 * 32;
  auto* panel = reinterpret_cast<uint16_t*>(p.panel);
  const int32_t step = panel_rows(p.x.count);
  for (int32_t o = 0; o < p.outs; o += step) {
    const int32_t rows = p.outs - o < step ? p.outs - o : step;
    for (int32_t i = 0; i < rows; ++i) pack_row(w, p.first + o + i, n, panel + i * stride);
    all_tiles(PackedBf16{panel, stride}, p.x, 0, rows, n, p.y + o, p.y_stride);
  }
}

void bf16_dots(const DotsParams& p) {
  if (!p.x.packed) return float_dots(p);
  if (p.w.dtype != DType::bf16 && p.x.count <= kTileRows)
    return with_streamed_weights(p, [&]<class W>(const W& w) {
      all_tiles(PackedOther<W>{w}, p.x, p.first, p.outs, p.w.cols, p.y, p.y_stride);
    });
  if (p.w.dtype != DType::bf16)
    return with_weights(p.w, [&]<class W>(const W& w) { packed_dots_of(p, PackedOther<W>{w}); });
  by_panels(PackedBf16{static_cast<const uint16_t*>(p.w.data), p.w.row_stride}, p);
}

int64_t burst_pairs(int64_t steps, float* sink) {
  constexpr int kChains = kTileRows * kTileOuts;
  V acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = zero();
  const __m512bh half = as_bh(_mm512_set1_epi16(0x3F00));
  for (int64_t s = 0; s < steps; ++s)
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbf16_ps(acc[i], half, half);
  V sum = zero();
  for (int i = 0; i < kChains; ++i) sum = add(sum, acc[i]);
  *sink = tree(sum);
  return steps * kChains * 32;
}

const Inner kAvx512 = {.name = "avx512",
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
const Inner kAvx512Bf16 = {.name = "avx512",
                           .packs_bf16 = true,
                           .dots = bf16_dots,
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
                           .burst = burst,
                           .burst_pairs = burst_pairs};

}  // namespace

const Inner* inner_avx512(bool has_bf16_dot) { return has_bf16_dot ? &kAvx512Bf16 : &kAvx512; }

}  // namespace fathom

#else

namespace fathom {

const Inner* inner_avx512(bool) { return nullptr; }

}  // namespace fathom

#endif
