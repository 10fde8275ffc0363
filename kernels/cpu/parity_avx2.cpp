// How does AVX2 multiply even and odd lanes apart? For up to three rows of x, weights are decoded
// in registers and both parities are taken at once, since memory is the limit; for more, a run of
// columns passes twice over a tile. bf16 is always multiplied as it is stored, other weights are
// widened into a panel for more than three rows.
#include <cstdint>
#include <cstring>

#include "kernels/cpu/inner.h"
#include "kernels/cpu/parity.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/cpu/parity_vector.h"

namespace fathom {
namespace {

constexpr int32_t kStep = kParityStep;
constexpr int32_t kRunSteps = 64;  // of a run of columns: a tile's x of one parity is 12 KB of L1

// ---- Rows of x.

void pack(const ParityPack& p) {
  const int32_t rows = p.x.tile_begin(p.tile + 1) - p.x.tile_begin(p.tile), cols = p.x.cols;
  constexpr int32_t kChunk = 512;
  for (int32_t begin = 0; begin < cols; begin += kChunk) {
    const int32_t n = cols - begin < kChunk ? cols - begin : kChunk;
    const int32_t steps = (n + kStep - 1) / kStep;
    float* to = p.out + int64_t{begin} * rows / 2;
    for (int32_t r = 0; r < rows; ++r) {
      const float* from = p.rows[r] + begin;
      float padded[kChunk];
      uint16_t bits[kChunk];
      if (p.round) {
        inner_avx2()->pack(from, n, steps * kStep, bits);
      } else if (n % kStep != 0) {
        std::memset(padded + (steps - 1) * kStep, 0, kStep * 4);
        std::memcpy(padded, from, static_cast<size_t>(n) * 4);
        from = padded;
      }
      for (int32_t s = 0; s < steps; ++s) {
        __m256 even, odd;
        if (p.round) {
          const __m256i v = load_256(bits + s * kStep);
          even = even_of(v), odd = odd_of(v);
        } else {
          even = parity_of<false>(from + s * kStep), odd = parity_of<true>(from + s * kStep);
        }
        float* at = to + (int64_t{s} * rows + r) * 8;
        _mm256_storeu_ps(at, p.x.quads ? quads_of(even) : even);
        _mm256_storeu_ps(at + int64_t{p.x.steps()} * rows * 8, p.x.quads ? quads_of(odd) : odd);
      }
    }
  }
}

// ---- Many rows of x: a run of columns passes once for each parity.

// O rows of bf16 as they are stored.
template <int O>
struct Bf16Rows {
  const uint16_t* row[O];
  template <bool Odd>
  __m256 load(int o, int64_t step) const {
    return parity_of<Odd>(load_256(row[o] + step * kStep));
  }
};

// O rows of a panel: [steps][O][8] for each parity.
template <int O>
struct PanelRows {
  const float* parity[2];
  template <bool Odd>
  __m256 load(int o, int64_t step) const {
    return _mm256_load_ps(parity[Odd] + (step * O + o) * 8);
  }
};

struct Run {  // of steps
  int32_t begin, end;
};

// Lines that a pass fetches, one a step, while it multiplies.
struct Nearer {
  const char* from;
  int64_t step;
};

// Where accumulators wait between runs, and for their trees: [R][kParityPanel][8]. Trees taken
// right behind the last product would hold up the next tile's.
constexpr int32_t kLanesRow = kParityPanel * 8;

// Always inlined: behind a call the registers' upper halves are cleared, which waits for every
// product under way.
template <bool Odd, int R, int O, class W>
[[gnu::always_inline]] inline void pass(const W& w, const float* x, const Run& run, float* lanes,
                                        const Nearer& nearer) {
  __m256 acc[R * O];
  if (run.begin == 0) {
#pragma GCC unroll 12
    for (int i = 0; i < R * O; ++i) acc[i] = _mm256_setzero_ps();
  } else {
#pragma GCC unroll 12
    for (int i = 0; i < R * O; ++i) acc[i] = _mm256_load_ps(lanes + i / O * kLanesRow + i % O * 8);
  }
  const float* a = x + int64_t{run.begin} * R * 8;
#pragma GCC unroll 1
  for (int64_t s = run.begin; s < run.end; ++s, a += R * 8) {
    _mm_prefetch(nearer.from + (s - run.begin) * nearer.step, _MM_HINT_T1);
    __m256 v[O];
#pragma GCC unroll 3
    for (int o = 0; o < O; ++o) v[o] = w.template load<Odd>(o, s);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m256 f = loaded(a + r * 8);
#pragma GCC unroll 3
      for (int o = 0; o < O; ++o) acc[r * O + o] = _mm256_fmadd_ps(v[o], f, acc[r * O + o]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < R * O; ++i) _mm256_store_ps(lanes + i / O * kLanesRow + i % O * 8, acc[i]);
}

const char* row_at(const Weight& w, int32_t row) {
  return static_cast<const char*>(w.data) + row * w.row_stride * dtype_bytes(w.dtype);
}

// The panel after this one is fetched while this one is multiplied: by the passes of the first few
// tiles, so many lines each.
class PanelAhead {
 public:
  PanelAhead(const ParityProduct& p, int32_t first, int32_t width)
      : w_(p.w),
        row_(p.first + first + kParityPanel),
        rows_(p.outs - first - kParityPanel < kParityPanel ? p.outs - first - kParityPanel
                                                           : kParityPanel) {
    const int32_t runs = (p.x.steps() + kRunSteps - 1) / kRunSteps;
    const int32_t tiles = p.x.tiles() < 4 ? p.x.tiles() : 4;
    row_lines_ = (int64_t{w_.cols} * dtype_bytes(w_.dtype) + 63) / 64;
    const int64_t passes = int64_t{tiles} * runs * 2 * (kParityPanel / width);
    lines_ = (rows_ * row_lines_ + passes - 1) / passes;
  }
  // `here` is any place in L1, for when nothing is left to fetch.
  Nearer next(const void* here) {
    const int64_t at = done_;
    if (at >= rows_ * row_lines_) return {static_cast<const char*>(here), 0};
    done_ += lines_;
    return {row_at(w_, row_ + static_cast<int32_t>(at / row_lines_)) + at % row_lines_ * 64, 64};
  }

 private:
  const Weight& w_;
  int32_t row_;
  int64_t rows_, row_lines_, lines_, done_ = 0;
};

// Rows of a panel are multiplied in groups of `width`, the rest of them in one of two or in ones.
struct Group {
  int32_t first, width;
  static Group of(int32_t row, int32_t rows, int32_t width) {
    const int32_t whole = rows / width * width;
    if (row < whole) return {row / width * width, width};
    return rows - whole == 2 ? Group{whole, 2} : Group{row, 1};
  }
};

// Tile t of x times the rows of one panel, for one parity.
template <bool Odd, int R, int O, class Source>
void tile_of_parity(const ParityProduct& p, const Source& source, int32_t t, int32_t outs,
                    float* lanes, PanelAhead& panel_ahead) {
  const int32_t steps = p.x.steps();
  const float* x = p.x.data + p.x.tile_at(t) + (Odd ? int64_t{steps} * R * 8 : 0);
  for (int32_t begin = 0; begin < steps; begin += kRunSteps) {
    const int32_t end = steps - begin < kRunSteps ? steps : begin + kRunSteps;
    const Run run{begin, end};
    int32_t o = 0;
    for (; o + O <= outs; o += O) {
      pass<Odd, R, O>(source.template rows<O>(o), x, run, lanes + o * 8, panel_ahead.next(lanes));
    }
    if (O == 3 && outs - o == 2) {
      pass<Odd, R, 2>(source.template rows<2>(o), x, run, lanes + o * 8, panel_ahead.next(lanes));
      continue;
    }
    for (; o < outs; ++o)
      pass<Odd, R, 1>(source.template rows<1>(o), x, run, lanes + o * 8, panel_ahead.next(lanes));
  }
}

template <int R, int O, class Source>
void tile_of_rows(const ParityProduct& p, const Source& source, int32_t t, int32_t first,
                  int32_t outs, PanelAhead& panel_ahead) {
  alignas(64) float lanes[R * kLanesRow];
  alignas(64) float even[R][(kParityPanel + 7) / 8 * 8];
  tile_of_parity<false, R, O>(p, source, t, outs, lanes, panel_ahead);
  for (int r = 0; r < R; ++r)
    for (int32_t o = 0; o < outs; o += 8)
      _mm256_store_ps(even[r] + o,
                      eight_trees<Source::kQuads>(lanes + r * kLanesRow + o * 8, outs - o));
  tile_of_parity<true, R, O>(p, source, t, outs, lanes, panel_ahead);
  for (int r = 0; r < R; ++r) {
    float* y = p.y + (p.x.tile_begin(t) + r) * p.y_stride + first;
    for (int32_t o = 0; o < outs; o += 8) {
      const __m256 odd = eight_trees<Source::kQuads>(lanes + r * kLanesRow + o * 8, outs - o);
      const __m256 sums = _mm256_add_ps(_mm256_load_ps(even[r] + o), odd);
      if (outs - o >= 8) {
        _mm256_storeu_ps(y + o, sums);
      } else {
        _mm256_store_ps(even[r] + o, sums);
        std::memcpy(y + o, even[r] + o, static_cast<size_t>(outs - o) * 4);
      }
    }
  }
}

// Tiles of up to 4 rows go with 3 rows of weights, larger ones with 2.
int32_t group_width(const ParityRows& x) {
  return (x.count + x.tiles() - 1) / x.tiles() <= 4 ? 3 : 2;
}

// All of x times rows [first, first + outs) of the product, a panel.
template <class Source>
void tiles_of_rows(const ParityProduct& p, const Source& source, int32_t first, int32_t outs) {
  const bool narrow = group_width(p.x) == 3;
  PanelAhead panel_ahead(p, first, group_width(p.x));
  for (int32_t t = 0; t < p.x.tiles(); ++t) {
    switch (p.x.tile_begin(t + 1) - p.x.tile_begin(t)) {
      case 1:
        tile_of_rows<1, 3>(p, source, t, first, outs, panel_ahead);
        break;
      case 2:
        tile_of_rows<2, 3>(p, source, t, first, outs, panel_ahead);
        break;
      case 3:
        tile_of_rows<3, 3>(p, source, t, first, outs, panel_ahead);
        break;
      case 4:
        narrow ? tile_of_rows<4, 3>(p, source, t, first, outs, panel_ahead)
               : tile_of_rows<4, 2>(p, source, t, first, outs, panel_ahead);
        break;
      case 5:
        tile_of_rows<5, 2>(p, source, t, first, outs, panel_ahead);
        break;
      default:
        tile_of_rows<6, 2>(p, source, t, first, outs, panel_ahead);
        break;
    }
  }
}

struct Bf16Source {
  static constexpr bool kQuads = false;
  const Weight& w;
  int32_t first;
  template <int O>
  Bf16Rows<O> rows(int32_t o) const {
    Bf16Rows<O> group;
    for (int i = 0; i < O; ++i)
      group.row[i] = reinterpret_cast<const uint16_t*>(row_at(w, first + o + i));
    return group;
  }
};

template <bool Quads>
struct PanelSource {
  static constexpr bool kQuads = Quads;
  const Weight& w;
  int32_t first;
  float* data;
  int32_t outs, steps, width;

  template <int O>
  PanelRows<O> rows(int32_t o) const {
    const float* even = data + int64_t{o} * steps * 8;
    return {{even, even + int64_t{outs} * steps * 8}};
  }
  // Where the vectors of one row stand: one every `distance` floats.
  struct Place {
    float *even, *odd;
    int32_t distance;
  };
  Place place(int32_t o) const {
    const Group g = Group::of(o, outs, width);
    float* even = data + int64_t{g.first} * steps * 8 + (o - g.first) * 8;
    return {even, even + int64_t{outs} * steps * 8, g.width * 8};
  }
};

// Any row of any weight.
template <bool Quads>
void widen_row(const ParityProduct& p, const PanelSource<Quads>& panel, int32_t o, float* buffer) {
  const int32_t cols = p.w.cols, steps = p.x.steps();
  inner_avx2()->widen(p.w, panel.first + o, p.round && !Quads, buffer);
  std::memset(buffer + cols, 0, static_cast<size_t>(steps * kStep - cols) * 4);
  const auto to = panel.place(o);
  for (int32_t s = 0; s < steps; ++s) {
    const __m256 even = parity_of<false>(buffer + s * kStep),
                 odd = parity_of<true>(buffer + s * kStep);
    _mm256_store_ps(to.even + s * to.distance, Quads ? quads_of(even) : even);
    _mm256_store_ps(to.odd + s * to.distance, Quads ? quads_of(odd) : odd);
  }
}

// ---- e4m3: two rows side by side, so that a vector's eight lanes are four of each.

constexpr float kExponentGap = 0x1p120f;  // what decoded bytes are too small by

// Can scales carry the gap?
bool scales_fit(const Weight& w, int32_t first, int32_t outs) {
  const int32_t begin = (first + w.scale_row) / kScaleBlock;
  const int32_t end = (first + outs - 1 + w.scale_row) / kScaleBlock;
  const int32_t blocks = (w.cols + w.scale_col - 1) / kScaleBlock + 1;
  for (int32_t b = begin; b <= end; ++b)
    for (int32_t i = 0; i < blocks; ++i)
      if (!(__builtin_fabsf(w.scale[b * w.scale_stride + i]) < 128.0f)) return false;
  return true;
}

struct BytePair {
  const uint8_t *a, *b;
  const float *scale_a, *scale_b;  // of the first block of columns

  static BytePair of(const Weight& w, int32_t row_a, int32_t row_b) {
    const auto scales = [&](int32_t row) {
      return w.scale + (row + w.scale_row) / kScaleBlock * w.scale_stride;
    };
    return {reinterpret_cast<const uint8_t*>(row_at(w, row_a)),
            reinterpret_cast<const uint8_t*>(row_at(w, row_b)), scales(row_a), scales(row_b)};
  }
  __m256i load(int64_t step) const {
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + step * kStep))),
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + step * kStep)), 1);
  }
  __m256 scale(int32_t block) const {
    return _mm256_mul_ps(_mm256_set_m128(_mm_set1_ps(scale_b[block]), _mm_set1_ps(scale_a[block])),
                         _mm256_set1_ps(kExponentGap));
  }
};

// Sign, exponent and mantissa at their places in a float, whose exponent is too small by 120: lanes
// 0 4 8 12, 2 6 10 14, 1 5 9 13 and 3 7 11 15 of both rows. Subnormal codes come out right as well.
struct Decoded {
  __m256 q[4];
};
[[gnu::always_inline]] inline Decoded decode(__m256i bytes) {
  const __m256i fields = _mm256_set1_epi16(static_cast<int16_t>(0x87F0));
  const __m256i odd = _mm256_and_si256(_mm256_srai_epi16(bytes, 4), fields);
  const __m256i even = _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 4), fields);
  return {{even_of(even), odd_of(even), even_of(odd), odd_of(odd)}};
}
// 0x7F and 0xFF are no numbers and are looked for a whole row at a time: the largest byte with its
// sign set is 0xFF then.
[[gnu::always_inline]] inline __m256i largest_code(__m256i so_far, __m256i bytes) {
  return _mm256_max_epu8(so_far, _mm256_or_si256(bytes, _mm256_set1_epi8(static_cast<char>(0x80))));
}
bool has_nan(__m256i largest) {
  return _mm256_movemask_epi8(_mm256_cmpeq_epi8(largest, _mm256_set1_epi8(-1))) != 0;
}

// Calls each(block of columns, first step, step behind it).
template <class F>
[[gnu::always_inline]] inline void each_block(const Weight& w, F&& each) {
  const int32_t steps = w.cols / kStep;
  int32_t begin = 0, end = (kScaleBlock - w.scale_col) / kStep;
  for (int32_t block = 0; begin < steps; ++block, begin = end, end += kScaleBlock / kStep)
    each(block, begin, end < steps ? end : steps);
}

// Rows o and o + 1 of a panel, or one row twice. False if there was a NaN.
bool widen_pair(const ParityProduct& p, const PanelSource<true>& panel, int32_t o) {
  const int32_t other = o + 1 < panel.outs ? o + 1 : o;
  const BytePair pair = BytePair::of(p.w, panel.first + o, panel.first + other);
  const auto a = panel.place(o), b = panel.place(other);
  __m256i largest = _mm256_setzero_si256();
  each_block(p.w, [&](int32_t block, int32_t begin, int32_t end) {
    const __m256 scale = pair.scale(block);
    for (int64_t s = begin; s < end; ++s) {
      const __m256i bytes = pair.load(s);
      largest = largest_code(largest, bytes);
      const Decoded d = decode(bytes);
      const __m256 q0 = _mm256_mul_ps(d.q[0], scale), q2 = _mm256_mul_ps(d.q[1], scale);
      const __m256 q1 = _mm256_mul_ps(d.q[2], scale), q3 = _mm256_mul_ps(d.q[3], scale);
      _mm256_store_ps(a.even + s * a.distance, _mm256_permute2f128_ps(q0, q2, 0x20));
      _mm256_store_ps(a.odd + s * a.distance, _mm256_permute2f128_ps(q1, q3, 0x20));
      _mm256_store_ps(b.even + s * b.distance, _mm256_permute2f128_ps(q0, q2, 0x31));
      _mm256_store_ps(b.odd + s * b.distance, _mm256_permute2f128_ps(q1, q3, 0x31));
    }
  });
  return !has_nan(largest);
}

template <bool Quads>
void panel_product(const ParityProduct& p, int32_t o, int32_t outs, bool fast) {
  const int32_t steps = p.x.steps();
  const PanelSource<Quads> panel{p.w, p.first + o, p.panel, outs, steps, group_width(p.x)};
  float* buffer = p.panel + int64_t{kParityPanel} * steps * kStep;
  for (int32_t i = 0; i < outs; i += 2) {
    if constexpr (Quads)
      if (fast && widen_pair(p, panel, i)) continue;
    widen_row(p, panel, i, buffer);
    if (i + 1 < outs) widen_row(p, panel, i + 1, buffer);
  }
  tiles_of_rows(p, panel, o, outs);
}

// ---- Up to three rows of x: weights pass once, both parities at a time.

template <int R, int O>
[[gnu::always_inline]] inline void few_bf16(const ParityProduct& p, int32_t o) {
  static_assert(R * O <= 8);
  const int32_t steps = p.x.steps();
  const uint16_t* w[O];
#pragma GCC unroll 4
  for (int i = 0; i < O; ++i)
    w[i] = reinterpret_cast<const uint16_t*>(row_at(p.w, p.first + o + i));
  __m256 even[R * O], odd[R * O];
#pragma GCC unroll 8
  for (int i = 0; i < R * O; ++i) even[i] = odd[i] = _mm256_setzero_ps();
  const float *x = p.x.data, *x_odd = x + int64_t{steps} * R * 8;
  const int64_t ahead = p.w.row_stride * O;
#pragma GCC unroll 1
  for (int64_t s = 0; s < steps; ++s)
#pragma GCC unroll 4
    for (int i = 0; i < O; ++i) {
      const __m256i v = load_256(w[i] + s * kStep);
      _mm_prefetch(w[i] + s * kStep + ahead, _MM_HINT_T0);
      const __m256 e = even_of(v), d = odd_of(v);
#pragma GCC unroll 3
      for (int r = 0; r < R; ++r) {
        even[r * O + i] = _mm256_fmadd_ps(e, _mm256_load_ps(x + (s * R + r) * 8), even[r * O + i]);
        odd[r * O + i] =
            _mm256_fmadd_ps(d, _mm256_load_ps(x_odd + (s * R + r) * 8), odd[r * O + i]);
      }
    }
  alignas(32) float lanes[2][R * O * 8], sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < R * O; ++i) {
    _mm256_store_ps(lanes[0] + i * 8, even[i]);
    _mm256_store_ps(lanes[1] + i * 8, odd[i]);
  }
  _mm256_store_ps(sums, _mm256_add_ps(eight_trees<false>(lanes[0], R * O),
                                      eight_trees<false>(lanes[1], R * O)));
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < O; ++i) p.y[r * p.y_stride + o + i] = sums[r * O + i];
}

template <int R, int O>
void few_bf16(const ParityProduct& p) {
  int32_t o = 0;
  for (; o + O <= p.outs; o += O) few_bf16<R, O>(p, o);
  for (; o < p.outs; ++o) few_bf16<R, 1>(p, o);
}

// One pair of rows, o and o + 1, times R rows of x. Returns whether there was a NaN among them.
template <int R>
[[gnu::always_inline]] inline bool few_bytes(const ParityProduct& p, int32_t o) {
  const int32_t other = o + 1 < p.outs ? o + 1 : o;
  const BytePair pair = BytePair::of(p.w, p.first + o, p.first + other);
  const float *x = p.x.data, *x_odd = x + int64_t{p.x.steps()} * R * 8;
  const int64_t ahead = 2 * p.w.row_stride;
  __m256 acc[R * 4];
#pragma GCC unroll 12
  for (int i = 0; i < R * 4; ++i) acc[i] = _mm256_setzero_ps();
  __m256i largest = _mm256_setzero_si256();
  each_block(
      p.w, [&](int32_t block, int32_t begin, int32_t end) __attribute__((always_inline)) {
        const __m256 scale = pair.scale(block);
#pragma GCC unroll 1
        for (int64_t s = begin; s < end; ++s) {
          const __m256i bytes = pair.load(s);
          _mm_prefetch(pair.a + s * kStep + ahead, _MM_HINT_T0);
          _mm_prefetch(pair.b + s * kStep + ahead, _MM_HINT_T0);
          largest = largest_code(largest, bytes);
          const Decoded d = decode(bytes);
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) {
            const __m256 w = _mm256_mul_ps(d.q[j], scale);
            const float* from = (j < 2 ? x : x_odd) + s * R * 8 + j % 2 * 4;
#pragma GCC unroll 3
            for (int r = 0; r < R; ++r)
              acc[r * 4 + j] = _mm256_fmadd_ps(
                  w, _mm256_broadcast_ps(reinterpret_cast<const __m128*>(from + r * 8)),
                  acc[r * 4 + j]);
          }
        }
      });
#pragma GCC unroll 3
  for (int r = 0; r < R; ++r) {
    __m256 sums[4];
    for (int j = 0; j < 4; ++j) {
      const __m256 eights = _mm256_add_ps(acc[r * 4 + j], _mm256_permute_ps(acc[r * 4 + j], 0x4E));
      sums[j] = _mm256_add_ps(eights, _mm256_movehdup_ps(eights));
    }
    const __m256 y =
        _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    p.y[r * p.y_stride + o] = _mm256_cvtss_f32(y);
    if (other != o) p.y[r * p.y_stride + other] = _mm_cvtss_f32(_mm256_extractf128_ps(y, 1));
  }
  return has_nan(largest);
}

template <int R>
void few_bytes(const ParityProduct& p) {
  for (int32_t o = 0; o < p.outs; o += 2)
    if (few_bytes<R>(p, o)) panel_product<true>(p, o, p.outs - o < 2 ? 1 : 2, false);
}

// ---- Which way a product takes.

void multiply(const ParityProduct& p) {
  const bool whole_steps = p.w.cols % kStep == 0, bytes = p.w.dtype == DType::f8_e4m3;
  if (p.w.dtype == DType::bf16 && whole_steps) {
    if (p.x.count == 1) return few_bf16<1, 4>(p);
    if (p.x.count == 2) return few_bf16<2, 2>(p);
    if (p.x.count == 3) return few_bf16<3, 2>(p);
    for (int32_t o = 0; o < p.outs; o += kParityPanel)
      tiles_of_rows(p, Bf16Source{p.w, p.first + o}, o,
                    p.outs - o < kParityPanel ? p.outs - o : kParityPanel);
    return;
  }
  const bool fast =
      bytes && whole_steps && p.w.scale_col % kStep == 0 && scales_fit(p.w, p.first, p.outs);
  if (fast && p.x.count == 1) return few_bytes<1>(p);
  if (fast && p.x.count == 2) return few_bytes<2>(p);
  if (fast && p.x.count == 3) return few_bytes<3>(p);
  for (int32_t o = 0; o < p.outs; o += kParityPanel) {
    const int32_t outs = p.outs - o < kParityPanel ? p.outs - o : kParityPanel;
    bytes ? panel_product<true>(p, o, outs, fast) : panel_product<false>(p, o, outs, false);
  }
}

const Parity kParity = {.pack = pack, .multiply = multiply};

}  // namespace

const Parity* parity_avx2() { return &kParity; }

}  // namespace fathom

#else

namespace fathom {

const Parity* parity_avx2() { return nullptr; }

}  // namespace fathom

#endif
