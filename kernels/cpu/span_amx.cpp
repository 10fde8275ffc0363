// How are spans attended with AMX? Scores come as [positions, queries]: cached rows are the left
// side as they lie in memory, 4 groups of 16 positions at a time, queries the packed right side. So
// the softmax runs down columns, 16 queries an instruction, without a horizontal step. The
// probabilities, two positions to a word, are turned once (16 x 16 words) into the left side of the
// product with the values. Built without anything of the standard library: see inner_vector.h.
#include "kernels/cpu/span_kernel.h"

#if defined(__AMX_BF16__)
#include "kernels/cpu/amx_tiles.h"

namespace fathom {
namespace {

using V = __m512;
constexpr int64_t kTileWords = 512;  // uint16_t of one tile

__mmask32 first32(int32_t n) {
  return n <= 0    ? __mmask32{0}
         : n >= 32 ? ~__mmask32{0}
                   : static_cast<__mmask32>((uint64_t{1} << n) - 1);
}
__mmask16 first16(int32_t n) {
  return n >= 16 ? __mmask16{0xFFFF} : static_cast<__mmask16>((1u << n) - 1);
}

// 16 words times 16 vectors, turned in place.
void turn(__m512i* v) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  // v[4a + c] holds column c + 4 * lane of rows 4a .. 4a + 3.
  for (int c = 0; c < 4; ++c) {
    t[c] = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xDD);
    t[8 + c] = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xDD);
  }
  for (int c = 0; c < 4; ++c) {
    v[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
    v[4 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88);
    v[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xDD);
    v[12 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xDD);
  }
}

// 32 bf16: those of `low` before those of `high`.
__m512i rounded(V low, V high) {
  const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
  __m512i bits;
  __builtin_memcpy(&bits, &both, sizeof bits);
  return bits;
}

// Words (low[i], high[i]) of two vectors of 16 values each that stand behind each other.
__m512i interleaved(__m512i v) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, v);
}

// 32 columns of up to 16 rows, n of them there.
void load_rows(const float* x, int64_t stride, int32_t count, int32_t n, __m512i* rows) {
  for (int32_t r = 0; r < 16; ++r) {
    if (r >= count) {
      rows[r] = _mm512_setzero_si512();
      continue;
    }
    const float* from = x + r * stride;
    const V low = _mm512_maskz_loadu_ps(first16(n), from);
    const V high = n > 16 ? _mm512_maskz_loadu_ps(first16(n - 16), from + 16) : _mm512_setzero_ps();
    rows[r] = rounded(low, high);
  }
}

void pack_left(const float* x, int64_t stride, int32_t count, int32_t width, uint16_t* out) {
  for (int32_t k = 0; k < width; k += 32, out += kTileWords) {
    __m512i rows[16];
    load_rows(x + k, stride, count, width - k, rows);
    for (int32_t r = 0; r < 16; ++r) _mm512_store_si512(out + r * 32, rows[r]);
  }
}

void pack_rows(const float* x, int64_t stride, int32_t count, int32_t width, uint16_t* out) {
  for (int32_t k = 0; k < width; k += 32, out += kTileWords) {
    __m512i rows[16];
    load_rows(x + k, stride, count, width - k, rows);
    turn(rows);
    for (int32_t r = 0; r < 16; ++r) _mm512_store_si512(out + r * 32, rows[r]);
  }
}

void pack_values(const SpanRows& rows, int32_t width, uint16_t* out) {
  const int64_t tiles = (width + 31) / 32 * 2;
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int32_t t = 0; t < (rows.count + 31) / 32 * 32; t += 2) {
    const uint16_t* a = rows.groups[t / kGroup] + t % kGroup * rows.stride;
    uint16_t* to = out + t / 32 * tiles * kTileWords + t % 32 / 2 * 32;
    for (int32_t j = 0; j < width; j += 32, to += 2 * kTileWords) {
      const __mmask32 part = first32(width - j);
      const __m512i x =
          t < rows.count ? _mm512_maskz_loadu_epi16(part, a + j) : _mm512_setzero_si512();
      const __m512i y = t + 1 < rows.count ? _mm512_maskz_loadu_epi16(part, a + rows.stride + j)
                                           : _mm512_setzero_si512();
      _mm512_store_si512(to, _mm512_permutex2var_epi16(x, low, y));
      _mm512_store_si512(to + kTileWords, _mm512_permutex2var_epi16(x, high, y));
    }
  }
}

// Scales, rope key, 8-bit values: see ops.h. Whole groups of 64 share a scale.
void widen_latent(const uint8_t* from, int32_t rank, int32_t rope, uint16_t* out) {
  const uint8_t* key = from + (rank + 63) / 64 * 4;
  const uint8_t* values = key + rope * 2;
  for (int32_t i = 0; i < rank; i += 32) {
    float scale;
    __builtin_memcpy(&scale, from + i / 64 * 4, 4);
    const __m256i q = _mm256_maskz_loadu_epi8(first32(rank - i), values + i);
    const V low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(q)));
    const V high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(q, 1)));
    const V s = _mm512_set1_ps(scale);
    _mm512_storeu_si512(out + i, rounded(_mm512_mul_ps(low, s), _mm512_mul_ps(high, s)));
  }
  const int32_t padded = (rank + rope + 31) / 32 * 32;
  for (int32_t i = 0; rank + i < padded; i += 32) {
    const __m512i k = _mm512_maskz_loadu_epi16(first32(rope - i), key + 2 * i);
    _mm512_mask_storeu_epi16(out + rank + i, first32(padded - rank - i), k);
  }
}

// 32 positions times 32 outputs: tiles 0 .. 3 are the sums.
void expand_block(const SpanExpandParams& p, int32_t group, const uint16_t* weights, bool both) {
  const uint16_t* a = p.latents.groups[group];
  const uint16_t* b = p.latents.groups[group + 1];
  const int64_t bytes = p.latents.stride * 2, next = p.depth_tiles * kTileWords;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int32_t k = 0; k < p.depth_tiles; ++k) {
    _tile_loadd(4, a + k * 32, bytes);
    _tile_loadd(5, b + k * 32, bytes);
    _tile_loadd(6, weights + k * kTileWords, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    if (!both) continue;
    _tile_loadd(7, weights + next + k * kTileWords, 64);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// One tile of sums [16 positions, 16 outputs] to where it belongs.
void place(const SpanExpandParams& p, int32_t group, int32_t tile, const float* sums) {
  if (tile < p.key_tiles) {
    for (int32_t r = 0; r < 16; r += 2) {
      const __m512i rows =
          rounded(_mm512_load_ps(sums + r * 16), _mm512_load_ps(sums + r * 16 + 16));
      uint16_t* to = p.keys + (group * kGroup + r) * p.key_stride + tile * 16;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(rows));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + p.key_stride),
                          _mm512_extracti64x4_epi64(rows, 1));
    }
    return;
  }
  uint16_t* to =
      p.values + (group / 2 * p.value_tiles + tile - p.key_tiles) * kTileWords + group % 2 * 8 * 32;
  for (int32_t r = 0; r < 16; r += 2) {
    const int32_t left = p.latents.count - group * kGroup - r;
    const V x = left > 0 ? _mm512_load_ps(sums + r * 16) : _mm512_setzero_ps();
    const V y = left > 1 ? _mm512_load_ps(sums + r * 16 + 16) : _mm512_setzero_ps();
    _mm512_store_si512(to + r / 2 * 32, interleaved(rounded(x, y)));
  }
}

void expand(const SpanExpandParams& p) {
  const AmxTiles tiles;
  alignas(64) float sums[4][256];
  const int32_t outs = p.key_tiles + p.value_tiles;
  for (int32_t group = 0; group * kGroup < p.latents.count; group += 2)
    for (int32_t o = 0; o < outs; o += 2) {
      const bool both = o + 1 < outs;
      expand_block(p, group, p.weights + o * p.depth_tiles * kTileWords, both);
      _tile_stored(0, sums[0], 64);
      _tile_stored(1, sums[1], 64);
      place(p, group, o, sums[0]);
      place(p, group + 1, o, sums[1]);
      if (!both) continue;
      _tile_stored(2, sums[2], 64);
      _tile_stored(3, sums[3], 64);
      place(p, group, o + 1, sums[2]);
      place(p, group + 1, o + 1, sums[3]);
    }
}

// scores[position][query] of 64 positions.
void score_block(const SpanAttendParams& p, int32_t group, float* scores) {
  const uint16_t* const* keys = p.keys.groups + group;
  const int64_t bytes = p.keys.stride * 2;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int32_t k = 0; k < p.depth_tiles; ++k) {
    _tile_loadd(4, p.queries + k * kTileWords, 64);
    _tile_loadd(5, keys[0] + k * 32, bytes);
    _tile_dpbf16ps(0, 5, 4);
    _tile_loadd(6, keys[1] + k * 32, bytes);
    _tile_dpbf16ps(1, 6, 4);
    _tile_loadd(7, keys[2] + k * 32, bytes);
    _tile_dpbf16ps(2, 7, 4);
    _tile_loadd(5, keys[3] + k * 32, bytes);
    _tile_dpbf16ps(3, 5, 4);
  }
  _tile_stored(0, scores, 64);
  _tile_stored(1, scores + 256, 64);
  _tile_stored(2, scores + 512, 64);
  _tile_stored(3, scores + 768, 64);
}

// 2^t; terms of its series up to the fifth: within 3e-6, for values that are rounded to bf16.
V power(V t) {
  const V n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const V r = _mm512_sub_ps(t, n);
  V p = _mm512_set1_ps(1.33335581e-3f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.61812911e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.55041087e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40226507e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93147181e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// Two more terms: within 1 unit of the last place or two; 0 for -inf.
V exact_power(V t) {
  t = _mm512_max_ps(t, _mm512_set1_ps(-200.0f));
  const V n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const V r = _mm512_sub_ps(t, n);
  V p = _mm512_set1_ps(1.52527338e-5f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.54035304e-4f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.33335581e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.61812911e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.55041087e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.40226507e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93147181e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

constexpr float kLog2E = 1.44269504f;

// Largest score of every query among the positions it sees; -inf where it sees none.
V largest_of(const float* scores, int32_t count, int32_t all, __m512i seen) {
  V most = _mm512_set1_ps(-__builtin_inff());
  int32_t t = 0;
  for (; t < all; ++t) most = _mm512_max_ps(most, _mm512_load_ps(scores + t * 16));
  for (; t < count; ++t) {
    const __mmask16 sees = _mm512_cmpgt_epi32_mask(seen, _mm512_set1_epi32(t));
    most = _mm512_mask_max_ps(most, sees, most, _mm512_load_ps(scores + t * 16));
  }
  return most;
}

// What turns scores into probabilities: e = 2^(score * factor + offset).
struct Softening {
  __m512i seen;
  int32_t all;  // positions that every query sees
  V factor, offset, sum;
};

Softening begin(const SpanAttendParams& p, const float* scores) {
  const __m512i seen = _mm512_loadu_si512(p.seen);
  const int32_t all = _mm512_reduce_min_epi32(seen);
  const V most = largest_of(scores, p.keys.count, all, seen);
  _mm512_storeu_ps(p.out.largest, _mm512_mul_ps(most, _mm512_set1_ps(p.scale)));
  const __mmask16 any = _mm512_cmpgt_epi32_mask(seen, _mm512_setzero_si512());
  return {.seen = seen,
          .all = all,
          .factor = _mm512_set1_ps(p.scale * kLog2E),
          .offset = _mm512_maskz_mul_ps(any, most, _mm512_set1_ps(-p.scale * kLog2E)),
          .sum = _mm512_setzero_ps()};
}

// Probabilities of one position, before rounding.
V probability(const Softening& s, const float* scores, int32_t t) {
  const V e = power(_mm512_fmadd_ps(_mm512_load_ps(scores + t * 16), s.factor, s.offset));
  if (t < s.all) return e;
  return _mm512_maskz_mov_ps(_mm512_cmpgt_epi32_mask(s.seen, _mm512_set1_epi32(t)), e);
}

// Positions [t, t + 32): one tile of [16 queries, 32 positions].
void soften(Softening& s, const float* scores, int32_t t, uint16_t* tile) {
  const __m512i one = _mm512_set1_epi16(0x3F80);
  __m512bh ones;
  __builtin_memcpy(&ones, &one, sizeof ones);
  __m512i pairs[16];
  for (int32_t i = 0; i < 16; ++i) {
    const int32_t at = t + 2 * i;
    pairs[i] = interleaved(rounded(probability(s, scores, at), probability(s, scores, at + 1)));
    __m512bh pair;
    __builtin_memcpy(&pair, &pairs[i], sizeof pair);
    s.sum = _mm512_dpbf16_ps(s.sum, pair, ones);
  }
  turn(pairs);
  for (int32_t i = 0; i < 16; ++i) _mm512_store_si512(tile + i * 32, pairs[i]);
}

// 64 columns of a product, from column 16 * tile on; the last columns may be fewer.
void product_columns(const SpanProduct& p, int32_t tile) {
  const int32_t tiles = p.width / 16, left = tiles - tile;
  const int64_t bytes = int64_t{p.width} * 4, step = tiles * kTileWords;
  const uint16_t* right = p.right + tile * kTileWords;
  float* out = p.out + tile * 16;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int32_t t = 0; t < p.steps; ++t, right += step) {
    _tile_loadd(4, p.left + t * kTileWords, 64);
    _tile_loadd(5, right, 64);
    _tile_dpbf16ps(0, 4, 5);
    if (left > 1) {
      _tile_loadd(6, right + kTileWords, 64);
      _tile_dpbf16ps(1, 4, 6);
    }
    if (left > 2) {
      _tile_loadd(7, right + 2 * kTileWords, 64);
      _tile_dpbf16ps(2, 4, 7);
    }
    if (left > 3) {
      _tile_loadd(5, right + 3 * kTileWords, 64);
      _tile_dpbf16ps(3, 4, 5);
    }
  }
  _tile_stored(0, out, bytes);
  if (left > 1) _tile_stored(1, out + 16, bytes);
  if (left > 2) _tile_stored(2, out + 32, bytes);
  if (left > 3) _tile_stored(3, out + 48, bytes);
}

void all_columns(const SpanProduct& p) {
  for (int32_t tile = 0; tile < p.width / 16; tile += 4) product_columns(p, tile);
}

void product(const SpanProduct& p) {
  const AmxTiles tiles;
  all_columns(p);
}

// Scores of one block are multiplied while the block before it is softened: neither waits for the
// other, and the machine runs both.
void attend(const SpanAttendParams* blocks, int32_t count) {
  const AmxTiles tiles;
  alignas(64) float scores[2][kSpan * kSpanQueries];
  alignas(64) uint16_t probabilities[kSpan * kSpanQueries];
  for (int32_t b = -1; b < count; ++b) {
    const SpanAttendParams* now = b >= 0 ? blocks + b : nullptr;
    const SpanAttendParams* next = b + 1 < count ? blocks + b + 1 : nullptr;
    float* mine = scores[b & 1];
    float* theirs = scores[(b + 1) & 1];
    Softening softening{};
    if (now) softening = begin(*now, mine);
    const int32_t here = now ? now->keys.count : 0, there = next ? next->keys.count : 0;
    for (int32_t t = 0; t < here || t < there; t += 64) {
      if (t < there) score_block(*next, t / kGroup, theirs + t * kSpanQueries);
      if (t < here) soften(softening, mine, t, probabilities + t * kSpanQueries);
      if (t + 32 < here) soften(softening, mine, t + 32, probabilities + (t + 32) * kSpanQueries);
    }
    if (!now) continue;
    _mm512_storeu_ps(now->out.sum, softening.sum);
    all_columns({.left = probabilities,
                 .right = now->values,
                 .steps = (here + 31) / 32,
                 .width = now->out.width,
                 .out = now->out.sums});
  }
}

void merge(const BlockState& state, const BlockState& more) {
  const V a = _mm512_loadu_ps(state.largest), b = _mm512_loadu_ps(more.largest);
  const V most = _mm512_max_ps(a, b), log2e = _mm512_set1_ps(kLog2E);
  const V keep = exact_power(_mm512_mul_ps(_mm512_sub_ps(a, most), log2e));
  const V take = exact_power(_mm512_mul_ps(_mm512_sub_ps(b, most), log2e));
  _mm512_storeu_ps(state.largest, most);
  _mm512_storeu_ps(state.sum, _mm512_fmadd_ps(take, _mm512_loadu_ps(more.sum),
                                              _mm512_mul_ps(keep, _mm512_loadu_ps(state.sum))));
  alignas(64) float keeps[16], takes[16];
  _mm512_store_ps(keeps, keep);
  _mm512_store_ps(takes, take);
  for (int32_t q = 0; q < kSpanQueries; ++q) {
    const V x = _mm512_set1_ps(keeps[q]), y = _mm512_set1_ps(takes[q]);
    float* sums = state.sums + q * state.width;
    const float* add = more.sums + q * state.width;
    for (int32_t i = 0; i < state.width; i += 16)
      _mm512_storeu_ps(sums + i, _mm512_fmadd_ps(y, _mm512_loadu_ps(add + i),
                                                 _mm512_mul_ps(x, _mm512_loadu_ps(sums + i))));
  }
}

constexpr SpanKernel kAmx = {.pack_rows = pack_rows,
                             .pack_left = pack_left,
                             .product = product,
                             .pack_values = pack_values,
                             .widen_latent = widen_latent,
                             .expand = expand,
                             .attend = attend,
                             .merge = merge};

}  // namespace

const SpanKernel* span_kernel_amx() { return &kAmx; }

}  // namespace fathom

#else

namespace fathom {

const SpanKernel* span_kernel_amx() { return nullptr; }

}  // namespace fathom

#endif
