// How does AMX multiply tiles? Weights are the left factor: up to four tiles of tokens pass over
// sixteen weight rows that are read straight from the matrix, once, while memory is the limit; more
// tokens go over panels of 32 weight rows by 384 columns that are copied (FP8: decoded) into L1.
// Either way an element is summed step by step in the same order;
// FP8 sums are taken per scale block and multiplied into a float32 sum, so the way does not show.
#include "kernels/cpu/tiles.h"

#include <cstring>

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VBMI__)
#include <immintrin.h>

namespace fathom {
namespace {

constexpr int32_t kTile = kTileEdge * kTileCols;  // words of a factor
constexpr int64_t kTileBytes = 1024;
constexpr int32_t kSums = kTileEdge * kTileEdge;  // floats of a tile of sums
constexpr int32_t kPanelSteps = 12;
constexpr int32_t kAhead = 10;  // steps

// The compiler does not know that tile loads read memory.
void settle() { asm volatile("" ::: "memory"); }

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums, 4 and 5 weights, 6 and 7 tokens.
struct TilesInUse {
  explicit TilesInUse(bool alone) {
    TileConfig config;
    for (int i = 0; i < 8; ++i) {
      config.rows[i] = 16;
      config.row_bytes[i] = alone && i != 4 && i != 5 ? 4 : 64;
    }
    settle();
    _tile_loadconfig(&config);
  }
  ~TilesInUse() { _tile_release(); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

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

void store_tile(__m512i* rows, bool alone, uint16_t* out) {
  if (alone) {
    _mm512_storeu_si512(out, rows[0]);
    return;
  }
  transpose(rows);
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + i * 32, rows[i]);
}

void pack_plain(const TilePack& p) {
  const int64_t step = p.alone ? kTileCols : kTile;
  for (int32_t k = 0, s = 0; k < p.steps.cols; k += kTileCols, ++s) {
    __m512i r[16];
    for (int32_t t = 0; t < 16; ++t)
      r[t] = t < p.count ? narrow_32(p.rows[t] + k, p.steps.cols - k) : _mm512_setzero_si512();
    store_tile(r, p.alone, p.out + s * step);
  }
}

void pack_fp8(const TilePack& p) {
  const int64_t step = p.alone ? kTileCols : kTile;
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
      store_tile(lower, p.alone, out);
      store_tile(upper, p.alone, out + step);
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

// Four rows of 64 columns.
void decode_rows(const Fp8Decoder& decoder, const uint8_t* from, int64_t stride, __mmask64 mask,
                 uint16_t* out) {
  __m512i q[4];
  for (int i = 0; i < 4; ++i) q[i] = _mm512_maskz_loadu_epi8(mask, from + i * stride);
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
                  int32_t rows, int32_t b, uint16_t* out) {
  const int32_t begin = steps.block_begin(b), end = steps.block_end(b);
  const auto* from = static_cast<const uint8_t*>(w.data) + row * w.row_stride;
  for (int32_t k = begin; k < end; k += 64, out += 2 * kTile) {
    const __mmask64 mask = first_of_64(end - k);
    int32_t i = 0;
    for (; i + 4 <= rows; i += 4)
      decode_rows(decoder, from + i * w.row_stride + k, w.row_stride, mask, out + i * kTileCols);
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

// The scales of sixteen rows over one block of columns.
struct RowScales {
  const float* first;  // of row 0, block 0
  int64_t stride;
  int32_t edge;  // rows before the next block of rows begins

  RowScales(const Weight& w, int32_t row)
      : first(w.scale + (row + w.scale_row) / kScaleBlock * w.scale_stride),
        stride(w.scale_stride),
        edge(kScaleBlock - (row + w.scale_row) % kScaleBlock) {}
  bool same(int32_t rows) const { return edge >= rows; }
  float of(int32_t i, int32_t b) const { return i < edge ? first[b] : first[stride + b]; }
};

// sums += scale * part, over all tokens of a tile (or one alone: the sixteen rows side by side).
void add_scaled(const RowScales& scales, int32_t rows, int32_t b, bool alone, const float* part,
                float* sums) {
  if (alone) {
    __m512 s = _mm512_set1_ps(scales.first[b]);
    if (!scales.same(rows))
      s = _mm512_mask_blend_ps(first_of_16(scales.edge),
                               _mm512_set1_ps(scales.first[scales.stride + b]), s);
    _mm512_store_ps(sums, _mm512_fmadd_ps(_mm512_load_ps(part), s, _mm512_load_ps(sums)));
    return;
  }
  const bool same = scales.same(rows);
  for (int32_t i = 0; i < rows; ++i) {
    const __m512 s = _mm512_set1_ps(same ? scales.first[b] : scales.of(i, b));
    _mm512_store_ps(sums + i * 16, _mm512_fmadd_ps(_mm512_load_ps(part + i * 16), s,
                                                   _mm512_load_ps(sums + i * 16)));
  }
}

// ---- sums

// [16 weight rows, 16 tokens] to y, of which `tokens` and `outs` exist.
void write_out(const float* sums, int32_t tokens, int32_t outs, float* y, int64_t y_stride) {
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(sums + i * 16);
  transpose(r);
  const __mmask16 mask = first_of_16(outs);
#pragma GCC unroll 16
  for (int t = 0; t < 16; ++t)
    if (t < tokens) _mm512_mask_storeu_epi32(y + t * y_stride, mask, r[t]);
}

void write_tile(const TileProduct& p, int32_t o, int32_t token, const float* sums) {
  const int32_t outs = p.outs - o < 16 ? p.outs - o : 16;
  const int32_t tokens = p.x.count - token < 16 ? p.x.count - token : 16;
  float* y = p.y + token * p.y_stride + o;
  if (p.x.alone)
    _mm512_mask_storeu_ps(y, first_of_16(outs), _mm512_load_ps(sums));
  else
    write_out(sums, tokens, outs, y, p.y_stride);
}

// Sums 0 .. T of one tile of weights and T tiles of tokens.
template <int T>
void step(const void* weights, int64_t weight_stride, const uint16_t* tokens, int64_t tile_words,
          int64_t token_stride) {
  _tile_loadd(4, weights, weight_stride);
  _tile_loadd(6, tokens, token_stride);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (T > 1) {
    _tile_loadd(7, tokens + tile_words, token_stride);
    _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (T > 2) {
    _tile_loadd(6, tokens + 2 * tile_words, token_stride);
    _tile_dpbf16ps(2, 4, 6);
  }
  if constexpr (T > 3) {
    _tile_loadd(7, tokens + 3 * tile_words, token_stride);
    _tile_dpbf16ps(3, 4, 7);
  }
}

template <int T>
void zero_sums() {
  _tile_zero(0);
  if constexpr (T > 1) _tile_zero(1);
  if constexpr (T > 2) _tile_zero(2);
  if constexpr (T > 3) _tile_zero(3);
}

template <int T>
void store_sums(float* to, int64_t stride) {
  _tile_stored(0, to, stride);
  if constexpr (T > 1) _tile_stored(1, to + kSums, stride);
  if constexpr (T > 2) _tile_stored(2, to + 2 * kSums, stride);
  if constexpr (T > 3) _tile_stored(3, to + 3 * kSums, stride);
}

// ---- few tokens: weights in place

template <int T, bool Alone>
struct Narrow {
  static constexpr int64_t kTokenStride = Alone ? 4 : 64;
  static constexpr int64_t kStepWords = Alone ? kTileCols : kTile;
  const TileProduct& p;
  int32_t steps;
  int64_t tile_words;
  uint16_t* tiles;  // workspace: a group's steps
  alignas(64) float sums[T * kSums];
  alignas(64) float part[T * kSums];

  explicit Narrow(const TileProduct& product)
      : p(product),
        steps(p.x.steps.count()),
        tile_words(p.x.tile_words()),
        tiles(static_cast<uint16_t*>(p.workspace)) {}

  void run() {
    const TilesInUse config(Alone);
    const Fp8Decoder decoder;
    for (int32_t o = 0; o < p.outs; o += kTileEdge) {
      const int32_t rows = p.outs - o < kTileEdge ? p.outs - o : kTileEdge;
      if (p.w.dtype == DType::f8_e4m3)
        fp8_group(decoder, o, rows);
      else if (p.w.dtype == DType::bf16 && rows == kTileEdge)
        bf16_group(o);
      else
        copied_group(o, rows);
      for (int32_t t = 0; t < T; ++t) write_tile(p, o, t * kTileEdge, sums + t * kSums);
    }
  }

  void one(const void* weights, int64_t stride, int32_t s) {
    step<T>(weights, stride, p.x.data + s * kStepWords, tile_words, kTokenStride);
  }

  void bf16_group(int32_t o) {
    const int64_t stride = p.w.row_stride * 2;
    const char* from = static_cast<const char*>(p.w.data) + (p.first + o) * stride;
    const int32_t whole = p.w.cols / kTileCols;
    const bool more = o + 2 * kTileEdge <= p.outs;
    zero_sums<T>();
    for (int32_t s = 0; s < whole; ++s) {
      const char* ahead = from + (s + kAhead) * 64;
      if (s + kAhead >= whole) ahead += more ? 16 * stride - whole * 64 : -kAhead * 64;
      for (int32_t i = 0; i < 16; ++i) _mm_prefetch(ahead + i * stride, _MM_HINT_T0);
      one(from + s * 64, stride, s);
    }
    if (whole < steps) {
      copy_tile(p.w, p.first + o, kTileEdge, whole * kTileCols, tiles);
      settle();
      one(tiles, 64, whole);
    }
    store_sums<T>(sums, kTokenStride);
  }

  void copied_group(int32_t o, int32_t rows) {
    zero_sums<T>();
    for (int32_t s = 0; s < steps; ++s) {
      uint16_t* tile = tiles + s % 8 * kTile;
      copy_tile(p.w, p.first + o, rows, s * kTileCols, tile);
      settle();
      one(tile, 64, s);
    }
    store_sums<T>(sums, kTokenStride);
  }

  void fp8_group(const Fp8Decoder& decoder, int32_t o, int32_t rows) {
    const int32_t row = p.first + o;
    const RowScales scales(p.w, row);
    const TileSteps& cut = p.x.steps;
    for (float& s : sums) s = 0;
    int32_t s = 0;
    const int32_t blocks = cut.blocks();
    for (int32_t b = 0; b < blocks; ++b) {
      uint16_t* tile = tiles + b % 2 * 4 * kTile;
      ahead(o, b);
      decode_block(decoder, p.w, cut, row, rows, b, tile);
      settle();
      zero_sums<T>();
      for (const int32_t end = cut.step_of_block(b + 1); s < end; ++s, tile += kTile)
        one(tile, 64, s);
      store_sums<T>(part, kTokenStride);
      for (int32_t t = 0; t < T; ++t)
        add_scaled(scales, rows, b, Alone, part + t * kSums, sums + t * kSums);
    }
  }

  // Fetches what is decoded a few blocks later.
  void ahead(int32_t o, int32_t b) {
    constexpr int32_t kBlocksAhead = 3;
    const int32_t blocks = p.x.steps.blocks();
    int32_t row = o, block = b + kBlocksAhead;
    if (block >= blocks) {
      block -= blocks;
      row += kTileEdge;
    }
    if (row + kTileEdge > p.outs || block >= blocks) return;
    const char* from = static_cast<const char*>(p.w.data) + (p.first + row) * p.w.row_stride +
                       p.x.steps.block_begin(block);
    for (int32_t i = 0; i < 16; ++i) {
      _mm_prefetch(from + i * p.w.row_stride, _MM_HINT_T0);
      _mm_prefetch(from + i * p.w.row_stride + 64, _MM_HINT_T0);
    }
  }
};

// ---- many tokens: panels of weights

constexpr int32_t kPanelTiles = 2;  // of weight rows

// What the next panel is made of, fetched into L2 a few lines at a time while this one is at work.
struct Ahead {
  const char* from = nullptr;
  int64_t stride = 0;
  int32_t lines = 0, rows = 0;  // of a row; rows left
  int32_t line = 0;

  void fetch() {
    constexpr int32_t kLines = 4;
    for (int32_t i = 0; i < kLines && rows > 0; ++i) {
      _mm_prefetch(from + line * 64, _MM_HINT_T1);
      if (++line < lines) continue;
      line = 0;
      --rows;
      from += stride;
    }
  }
};

// Sums of 2 tiles of weights and N of tokens over `steps` tiles of a panel. The panel stays in L1
// while tokens stream past it.
template <int N>
void panel_steps(const uint16_t* panel, int32_t steps, const uint16_t* x, int64_t tile_words,
                 Ahead& ahead) {
  const uint16_t* second = panel + kPanelSteps * kTile;
  for (int32_t s = 0; s < steps; ++s, panel += kTile, second += kTile, x += kTile) {
    ahead.fetch();
    _tile_stream_loadd(6, x, 64);
    _tile_loadd(4, panel, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, second, 64);
    _tile_dpbf16ps(1, 5, 6);
    if constexpr (N > 1) {
      _tile_stream_loadd(7, x + tile_words, 64);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

template <int N>
void load_sums(const float* from) {
  _tile_loadd(0, from, 64);
  _tile_loadd(1, from + kSums, 64);
  if constexpr (N > 1) {
    _tile_loadd(2, from + 2 * kSums, 64);
    _tile_loadd(3, from + 3 * kSums, 64);
  }
}

struct Wide {
  const TileProduct& p;
  int64_t tile_words;
  uint16_t* panel;  // [2 tiles of rows][kPanelSteps]
  float* sums;      // [tiles of tokens][2 tiles of rows]
  Ahead ahead;

  explicit Wide(const TileProduct& product)
      : p(product),
        tile_words(p.x.tile_words()),
        panel(static_cast<uint16_t*>(p.workspace)),
        sums(reinterpret_cast<float*>(panel + kPanelTiles * kPanelSteps * kTile)) {}

  void run() {
    const TilesInUse config(false);
    const Fp8Decoder decoder;
    const auto tiles = static_cast<int32_t>(TileTokens::tiles(p.x.count));
    for (int32_t o = 0; o < p.outs; o += kPanelTiles * kTileEdge) {
      if (p.w.dtype == DType::f8_e4m3)
        fp8_panel(decoder, o, tiles);
      else
        plain_panel(o, tiles);
      for (int32_t i = 0; i < tiles; ++i)
        for (int32_t h = 0; h < kPanelTiles && o + h * kTileEdge < p.outs; ++h)
          write_tile(p, o + h * kTileEdge, i * kTileEdge, sums + (i * kPanelTiles + h) * kSums);
    }
  }

  int32_t rows_from(int32_t o) const {
    const int32_t rows = p.outs - o;
    return rows < 0 ? 0 : rows < kTileEdge ? rows : kTileEdge;
  }
  const uint16_t* tokens(int32_t tile, int32_t s) const {
    return p.x.data + tile * tile_words + int64_t{s} * kTile;
  }

  // Columns [next, ...) of the rows from o on, or, behind the last column, of the next rows.
  void look_ahead(int32_t o, int32_t next, int32_t width) {
    if (next >= p.w.cols) {
      next = 0;
      o += kPanelTiles * kTileEdge;
    }
    const int64_t bytes = dtype_bytes(p.w.dtype);
    const int32_t left = p.w.cols - next < width ? p.w.cols - next : width;
    const int32_t rows = p.outs - o < 2 * kTileEdge ? p.outs - o : 2 * kTileEdge;
    ahead = {.from = static_cast<const char*>(p.w.data) +
                     ((p.first + o) * p.w.row_stride + next) * bytes,
             .stride = p.w.row_stride * bytes,
             .lines = static_cast<int32_t>((left * bytes + 63) / 64),
             .rows = rows};
  }

  void plain_panel(int32_t o, int32_t count) {
    const int32_t steps = p.x.steps.count();
    for (int32_t s = 0; s < steps; s += kPanelSteps) {
      const int32_t n = steps - s < kPanelSteps ? steps - s : kPanelSteps;
      for (int32_t h = 0; h < kPanelTiles; ++h)
        copy_tiles(p.w, p.first + o + h * kTileEdge, rows_from(o + h * kTileEdge), s * kTileCols, n,
                   panel + h * kPanelSteps * kTile);
      settle();
      look_ahead(o, (s + n) * kTileCols, kPanelSteps * kTileCols);
      for (int32_t i = 0; i < count; i += 2) {
        float* here = sums + i * kPanelTiles * kSums;
        count - i > 1 ? plain_sums<2>(here, s == 0, n, tokens(i, s))
                      : plain_sums<1>(here, s == 0, n, tokens(i, s));
      }
    }
  }

  template <int N>
  void plain_sums(float* here, bool fresh, int32_t steps, const uint16_t* x) {
    if (fresh)
      zero_sums<2 * N>();
    else
      load_sums<N>(here);
    panel_steps<N>(panel, steps, x, tile_words, ahead);
    store_sums<2 * N>(here, 64);
  }

  // As many scale blocks at a time as fill the panel.
  void fp8_panel(const Fp8Decoder& decoder, int32_t o, int32_t count) {
    constexpr int32_t kBlocks = kPanelSteps / 4;
    const TileSteps& cut = p.x.steps;
    const int32_t blocks = cut.blocks();
    for (int32_t i = 0; i < count * kPanelTiles * kSums; ++i) sums[i] = 0;
    for (int32_t b = 0; b < blocks; b += kBlocks) {
      const int32_t end = b + kBlocks < blocks ? b + kBlocks : blocks;
      for (int32_t h = 0; h < kPanelTiles; ++h)
        for (int32_t j = b; j < end; ++j)
          decode_block(decoder, p.w, cut, p.first + o + h * kTileEdge, rows_from(o + h * kTileEdge),
                       j, panel + (h * kPanelSteps + (j - b) * 4) * kTile);
      settle();
      look_ahead(o, cut.block_end(end - 1), kBlocks * kScaleBlock);
      for (int32_t i = 0; i < count; i += 2) {
        float* here = sums + i * kPanelTiles * kSums;
        count - i > 1 ? fp8_sums<2>(here, o, b, end, i) : fp8_sums<1>(here, o, b, end, i);
      }
    }
  }

  template <int N>
  void fp8_sums(float* here, int32_t o, int32_t begin, int32_t end, int32_t t) {
    alignas(64) float part[2 * N * kSums];
    const TileSteps& cut = p.x.steps;
    for (int32_t b = begin; b < end; ++b) {
      const int32_t s = cut.step_of_block(b);
      zero_sums<2 * N>();
      panel_steps<N>(panel + (b - begin) * 4 * kTile, cut.step_of_block(b + 1) - s, tokens(t, s),
                     tile_words, ahead);
      store_sums<2 * N>(part, 64);
      for (int32_t i = 0; i < 2 * N; ++i) {
        const int32_t row = o + i % 2 * kTileEdge;
        if (rows_from(row) > 0)
          add_scaled(RowScales(p.w, p.first + row), rows_from(row), b, false, part + i * kSums,
                     here + i * kSums);
      }
    }
  }
};

void multiply(const TileProduct& p) {
  if (p.x.alone) return Narrow<1, true>(p).run();
  switch (TileTokens::tiles(p.x.count)) {
    case 1:
      return Narrow<1, false>(p).run();
    case 2:
      return Narrow<2, false>(p).run();
    case 3:
      return Narrow<3, false>(p).run();
    case 4:
      return Narrow<4, false>(p).run();
    default:
      return Wide(p).run();
  }
}

int64_t burst(int64_t steps, float* sink) {
  const TilesInUse config(false);
  zero_sums<4>();
  for (int i = 4; i < 8; ++i) _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t s = 0; s < steps; ++s) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float sums[kSums];
  _tile_stored(0, sums, 64);
  *sink = sums[0];
  return steps * 4 * kTileEdge * kTile;
}

constexpr Tiles kTiles = {.pack = pack, .multiply = multiply, .burst = burst};

}  // namespace

int64_t tile_workspace(int32_t tokens) {
  return kPanelTiles * (kPanelSteps + TileTokens::tiles(tokens)) * kTileBytes;
}

const Tiles* tiles_amx() { return &kTiles; }

}  // namespace fathom

#else

namespace fathom {

int64_t tile_workspace(int32_t) { return 0; }
const Tiles* tiles_amx() { return nullptr; }

}  // namespace fathom

#endif
