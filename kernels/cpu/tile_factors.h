// How do tokens and weights become the factors of tile products? Tokens are narrowed to bf16 and
// laid side by side, pairs of columns together; FP8 weights are decoded, other weights copied or
// narrowed, rows beneath one another. Included by the file that multiplies tiles, so that nothing
// here is built with its flags anywhere else.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/tiles.h"

namespace fathom {
namespace {

constexpr int32_t kTile = kTileEdge * kTileCols;  // words of a factor

__mmask16 first_of_16(int32_t n) {
  return n >= 16 ? __mmask16{0xFFFF} : static_cast<__mmask16>(n <= 0 ? 0 : (1u << n) - 1);
}
__mmask32 first_of_32(int32_t n) {
  return n >= 32 ? __mmask32{0xFFFFFFFF} : static_cast<__mmask32>(n <= 0 ? 0 : (1u << n) - 1);
}
__mmask64 first_of_64(int32_t n) {
  return n >= 64 ? ~__mmask64{0} : n <= 0 ? __mmask64{0} : (__mmask64{1} << n) - 1;
}

__m512i bits(__m512bh v) {
  __m512i b;
  std::memcpy(&b, &v, sizeof b);
  return b;
}

// 32 values as bf16, nearest even; zeros behind the first n.
__m512i narrow_32(const float* p, int32_t n) {
  const __m512 low = _mm512_maskz_loadu_ps(first_of_16(n), p);
  const __m512 high =
      n > 16 ? _mm512_maskz_loadu_ps(first_of_16(n - 16), p + 16) : _mm512_setzero_ps();
  return bits(_mm512_cvtne2ps_pbh(high, low));
}
__m512i narrow_f16_32(const uint16_t* p, int32_t n) {
  const __m512i h = _mm512_maskz_loadu_epi16(first_of_32(n), p);
  return bits(_mm512_cvtne2ps_pbh(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1)),
                                  _mm512_cvtph_ps(_mm512_castsi512_si256(h))));
}

// Transposes 16 by 16 values of 32 bits.
inline __attribute__((always_inline)) void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

// ---- tokens

// Of 64 values, those in the lower or the upper half of each run of 16: what decoding FP8 leaves
// side by side.
__m512i lower_halves(__m512i first, __m512i second) {
  return _mm512_permutex2var_epi64(first, _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), second);
}
__m512i upper_halves(__m512i first, __m512i second) {
  return _mm512_permutex2var_epi64(first, _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15), second);
}

void store_tile(__m512i* rows, int32_t width, uint16_t* out) {
  if (width == 1) {
    _mm512_storeu_si512(out, rows[0]);
    return;
  }
  transpose(rows);
  const __mmask16 mask = first_of_16(width);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_mask_storeu_epi32(out + i * 2 * width, mask, rows[i]);
}

void pack_plain(const TilePack& p) {
  const int64_t step = kTileCols * p.width;
  for (int32_t k = 0, s = 0; k < p.steps.cols; k += kTileCols, ++s) {
    __m512i r[16];
    for (int32_t t = 0; t < 16; ++t)
      r[t] = t < p.count ? narrow_32(p.rows[t] + k, p.steps.cols - k) : _mm512_setzero_si512();
    store_tile(r, p.width, p.out + s * step);
  }
}

void pack_fp8(const TilePack& p) {
  const int64_t step = kTileCols * p.width;
  uint16_t* out = p.out;
  for (int32_t b = 0; b < p.steps.blocks(); ++b) {
    const int32_t end = p.steps.block_end(b);
    for (int32_t k = p.steps.block_begin(b); k < end; k += 64, out += 2 * step) {
      __m512i lower[16], upper[16];
      for (int32_t t = 0; t < 16; ++t) {
        lower[t] = upper[t] = _mm512_setzero_si512();
        if (t >= p.count) continue;
        const __m512i first = narrow_32(p.rows[t] + k, end - k);
        const __m512i second =
            end - k > 32 ? narrow_32(p.rows[t] + k + 32, end - k - 32) : _mm512_setzero_si512();
        lower[t] = lower_halves(first, second);
        upper[t] = upper_halves(first, second);
      }
      store_tile(lower, p.width, out);
      store_tile(upper, p.width, out + step);
    }
  }
}

void pack(const TilePack& p) { p.steps.fp8 ? pack_fp8(p) : pack_plain(p); }

// ---- weights

// The bf16 of every e4m3 magnitude, as tables of high and of low bytes.
struct Fp8Tables {
  alignas(64) uint8_t high[128];
  alignas(64) uint8_t low[128];
};

constexpr Fp8Tables make_fp8_tables() {
  Fp8Tables t{};
  for (int i = 0; i < 128; ++i) {
    int exponent = i >> 3, mantissa = i & 7;
    uint32_t word = 0;
    if (i == 127) {
      word = 0x7FC0;
    } else if (exponent > 0) {
      word = static_cast<uint32_t>((exponent + 120) << 7 | mantissa << 4);
    } else if (mantissa > 0) {  // subnormal here, normal in bf16
      exponent = 121;
      while (mantissa < 8) {
        mantissa *= 2;
        --exponent;
      }
      word = static_cast<uint32_t>(exponent << 7 | (mantissa & 7) << 4);
    }
    t.high[i] = static_cast<uint8_t>(word >> 8);
    t.low[i] = static_cast<uint8_t>(word);
  }
  return t;
}
constexpr Fp8Tables kFp8 = make_fp8_tables();

// e4m3 to bf16, 64 values at a time: the lower and the upper halves of runs of 16. Of a normal
// value both bytes are linear in its bits (the exponent e3 e2 e1 e0 + 120 is e3 !e3 !e3 !e3 !e3 e2
// e1 e0), so the machine's product of 8x8 bits gives them; zeros, subnormals and NaN take a way by
// tables.
struct Fp8Decoder {
  __m512i high0 = _mm512_load_si512(kFp8.high), high1 = _mm512_load_si512(kFp8.high + 64);
  __m512i low0 = _mm512_load_si512(kFp8.low), low1 = _mm512_load_si512(kFp8.low + 64);
  __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  // Row i of a matrix, counted from the highest byte, names the bits that are added to bit i.
  __m512i high_bits = _mm512_set1_epi64(0x1020404040404080);
  __m512i low_bits = _mm512_set1_epi64(0x0000000001020408);

  static void store(__m512i low, __m512i high, uint16_t* lower, uint16_t* upper) {
    _mm512_storeu_si512(lower, _mm512_unpacklo_epi8(low, high));
    _mm512_storeu_si512(upper, _mm512_unpackhi_epi8(low, high));
  }
  void any(__m512i q, uint16_t* lower, uint16_t* upper) const {
    // table | (q & sign)
    const __m512i high =
        _mm512_ternarylogic_epi64(_mm512_permutex2var_epi8(high0, q, high1), q, sign, 0xF8);
    store(_mm512_permutex2var_epi8(low0, q, low1), high, lower, upper);
  }
  void normal(__m512i q, uint16_t* lower, uint16_t* upper) const {
    store(_mm512_gf2p8affine_epi64_epi8(q, low_bits, 0),
          _mm512_gf2p8affine_epi64_epi8(q, high_bits, 0x3C), lower, upper);
  }
  // 2q - 16 puts magnitudes 0 to 7 and 127 above all others.
  static __m512i strangeness(__m512i q) {
    return _mm512_sub_epi8(_mm512_add_epi8(q, q), _mm512_set1_epi8(16));
  }
  static bool all_normal(__m512i strangest) {
    return _mm512_cmpge_epu8_mask(strangest, _mm512_set1_epi8(static_cast<char>(238))) == 0;
  }
};

// Four rows of 64 columns. What lies `ahead` bytes further on will be needed next.
inline void decode_rows(const Fp8Decoder& decoder, const uint8_t* from, int64_t stride,
                        __mmask64 mask, int64_t ahead, uint16_t* out) {
  __m512i q[4];
  for (int i = 0; i < 4; ++i) {
    q[i] = _mm512_maskz_loadu_epi8(mask, from + i * stride);
    _mm_prefetch(reinterpret_cast<const char*>(from + i * stride + ahead), _MM_HINT_T0);
  }
  const __m512i strangest = _mm512_max_epu8(
      _mm512_max_epu8(Fp8Decoder::strangeness(q[0]), Fp8Decoder::strangeness(q[1])),
      _mm512_max_epu8(Fp8Decoder::strangeness(q[2]), Fp8Decoder::strangeness(q[3])));
  if (Fp8Decoder::all_normal(strangest))
    for (int i = 0; i < 4; ++i)
      decoder.normal(q[i], out + i * kTileCols, out + kTile + i * kTileCols);
  else
    for (int i = 0; i < 4; ++i) decoder.any(q[i], out + i * kTileCols, out + kTile + i * kTileCols);
}

// Rows [row, row + rows) of columns of block b as tiles, the way TileSteps cuts them. Behind the
// last row zeros.
void decode_block(const Fp8Decoder& decoder, const Weight& w, const TileSteps& steps, int32_t row,
                  int32_t rows, int32_t b, int64_t ahead, uint16_t* out) {
  const int32_t begin = steps.block_begin(b), end = steps.block_end(b);
  const auto* from = static_cast<const uint8_t*>(w.data) + row * w.row_stride;
  for (int32_t k = begin; k < end; k += 64, out += 2 * kTile) {
    const __mmask64 mask = first_of_64(end - k);
    int32_t i = 0;
    for (; i + 4 <= rows; i += 4)
      decode_rows(decoder, from + i * w.row_stride + k, w.row_stride, mask, ahead,
                  out + i * kTileCols);
    for (; i < rows; ++i)
      decoder.any(_mm512_maskz_loadu_epi8(mask, from + i * w.row_stride + k), out + i * kTileCols,
                  out + kTile + i * kTileCols);
    for (; i < kTileEdge; ++i)
      Fp8Decoder::store(_mm512_setzero_si512(), _mm512_setzero_si512(), out + i * kTileCols,
                        out + kTile + i * kTileCols);
  }
}

// One tile of weights that are no FP8.
void copy_tile(const Weight& w, int32_t row, int32_t rows, int32_t k, uint16_t* out) {
  const int32_t n = w.cols - k;
  for (int32_t i = 0; i < kTileEdge; ++i) {
    const int64_t at = (row + i) * w.row_stride + k;
    __m512i v = _mm512_setzero_si512();
    if (i >= rows)
      ;
    else if (w.dtype == DType::bf16)
      v = _mm512_maskz_loadu_epi16(first_of_32(n), static_cast<const uint16_t*>(w.data) + at);
    else if (w.dtype == DType::f16)
      v = narrow_f16_32(static_cast<const uint16_t*>(w.data) + at, n);
    else
      v = narrow_32(static_cast<const float*>(w.data) + at, n);
    _mm512_storeu_si512(out + i * kTileCols, v);
  }
}

// `steps` tiles of sixteen rows, from column k on.
void copy_tiles(const Weight& w, int32_t row, int32_t rows, int32_t k, int32_t steps,
                uint16_t* out) {
  if (w.dtype != DType::bf16 || k + steps * kTileCols > w.cols || rows < kTileEdge) {
    for (int32_t s = 0; s < steps; ++s) copy_tile(w, row, rows, k + s * kTileCols, out + s * kTile);
    return;
  }
  const auto* from = static_cast<const uint16_t*>(w.data) + row * w.row_stride + k;
  for (int32_t i = 0; i < kTileEdge; ++i, from += w.row_stride, out += kTileCols)
    for (int32_t s = 0; s < steps; ++s)
      _mm512_store_si512(out + s * kTile, _mm512_loadu_si512(from + s * kTileCols));
}

}  // namespace
}  // namespace fathom
