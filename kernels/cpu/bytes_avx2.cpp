// How does AVX2 multiply e4m3 weights as they are stored? Each 32 bytes cost eight operations to
// become four vectors, and the ports that do them are not those that multiply: with one row of x
// memory is the limit, with four and more the products are. Rows of weights go in groups, of four
// for up to three rows of x and of two for more. What the group reads next is fetched in the order
// of memory, which is worth half the bandwidth: prefetchers follow one stream, not four.
//
// Matrices whose shape or scales do not fit take `wide`: every row is widened to q * scale and
// multiplied as float32. Which way it is depends on the matrix and its scales alone, 128 rows at a
// time, so a row of weights is always multiplied in the same way.
#include "kernels/cpu/bytes.h"

#include <cstdint>
#include <cstring>

#include "kernels/cpu/inner.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/cpu/parity_vector.h"

namespace fathom {
namespace {

constexpr int32_t kStep = kBytesStep;
constexpr int32_t kBlockSteps = kScaleBlock / kStep;

// ---- Rows of x: [steps][4 quarters][rows of the tile][8].

struct Quarters {
  __m256 q[4];
};
[[gnu::always_inline]] inline Quarters quarters_of(const float* x) {
  const __m256 a = _mm256_loadu_ps(x), b = _mm256_loadu_ps(x + 8), c = _mm256_loadu_ps(x + 16),
               d = _mm256_loadu_ps(x + 24);
  const auto pairs = [](__m256 v, __m256 w, bool high) {
    const __m256d e = _mm256_castps_pd(v), f = _mm256_castps_pd(w);
    return _mm256_castpd_ps(high ? _mm256_unpackhi_pd(e, f) : _mm256_unpacklo_pd(e, f));
  };
  const auto sorted = [](__m256 v) {
    return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  };
  const __m256 ab01 = _mm256_unpacklo_ps(a, b), ab23 = _mm256_unpackhi_ps(a, b);
  const __m256 cd01 = _mm256_unpacklo_ps(c, d), cd23 = _mm256_unpackhi_ps(c, d);
  return {{sorted(pairs(ab01, cd01, false)), sorted(pairs(ab23, cd23, false)),
           sorted(pairs(ab01, cd01, true)), sorted(pairs(ab23, cd23, true))}};
}

}  // namespace

void pack_for_bytes(const ParityPack& p) {
  const int32_t rows = p.x.tile_begin(p.tile + 1) - p.x.tile_begin(p.tile), cols = p.x.cols;
  constexpr int32_t kChunk = 512;
  for (int32_t begin = 0; begin < cols; begin += kChunk) {
    const int32_t n = cols - begin < kChunk ? cols - begin : kChunk;
    const int32_t steps = (n + kStep - 1) / kStep;
    float* to = p.out + int64_t{begin} * rows;
    for (int32_t r = 0; r < rows; ++r) {
      const float* from = p.rows[r] + begin;
      alignas(32) float padded[kChunk];
      if (p.round) {
        uint16_t bits[kChunk];
        inner_avx2()->pack(from, n, steps * kStep, bits);
        for (int32_t i = 0; i < steps * kStep; i += 8) {
          const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bits + i));
          _mm256_store_ps(padded + i, even_of(_mm256_cvtepu16_epi32(eight)));
        }
        from = padded;
      } else if (n % kStep != 0) {
        std::memset(padded + (steps - 1) * kStep, 0, kStep * 4);
        std::memcpy(padded, from, static_cast<size_t>(n) * 4);
        from = padded;
      }
      for (int32_t s = 0; s < steps; ++s) {
        const Quarters v = quarters_of(from + s * kStep);
        for (int j = 0; j < 4; ++j)
          _mm256_storeu_ps(to + ((int64_t{s} * 4 + j) * rows + r) * 8, v.q[j]);
      }
    }
  }
}

namespace {

const char* row_at(const Weight& w, int32_t row) {
  return static_cast<const char*>(w.data) + row * w.row_stride;
}

template <int N>
struct Count {};

// fn(Count<R>) of the R rows of tile t, Least to kParityTile.
template <int Least = 1, class F>
void with_rows_of(const ParityRows& x, int32_t t, const F& fn) {
  if constexpr (Least < kParityTile)
    if (x.tile_begin(t + 1) - x.tile_begin(t) > Least) return with_rows_of<Least + 1>(x, t, fn);
  fn(Count<Least>{});
}

struct Run {  // of steps
  int32_t begin, end;
};
int32_t runs_of(const ParityRows& x, int32_t rows) {
  return (x.steps() * kStep * rows + kBytesRun - 1) / kBytesRun;
}

// Steps [run) of tile t, times the scales of the rows' block.
void scale_run(const ParityProduct& p, int32_t t, int32_t rows, const Run& run, const float* scales,
               float* out) {
  const float* x = p.x.data + p.x.tile_at(t);
  for (int32_t s = run.begin, end; s < run.end; s = end) {
    const int32_t col = s * kStep + p.w.scale_col;
    end = s + kBlockSteps - col % kScaleBlock / kStep;
    if (end > run.end) end = run.end;
    const __m256 scale = _mm256_set1_ps(scales[col / kScaleBlock] * kBytesIntoX);
    const int64_t last = int64_t{end} * rows * kStep;
    float* to = out - int64_t{run.begin} * rows * kStep;
    for (int64_t i = int64_t{s} * rows * kStep; i < last; i += 32)
      for (int j = 0; j < 32; j += 8)
        _mm256_store_ps(to + i + j, _mm256_mul_ps(_mm256_load_ps(x + i + j), scale));
  }
}

// ---- A run of columns of O rows of weights times one of R rows of x.

// Lines to fetch: each step those at `from` and on, one for every two rows of the group.
struct Nearer {
  const char* from;
  int64_t step;
};

// Where sums wait between runs and for their trees: [R][kBytesPanel][8].
constexpr int32_t kLanesRow = kBytesPanel * 8;

template <int R, int O>
[[gnu::always_inline]] inline void load_lanes(bool fresh, const float* lanes,
                                              __m256 (&acc)[R * O]) {
#pragma GCC unroll 12
  for (int i = 0; i < R * O; ++i)
    acc[i] = fresh ? _mm256_setzero_ps() : _mm256_load_ps(lanes + i / O * kLanesRow + i % O * 8);
}
template <int R, int O>
[[gnu::always_inline]] inline void store_lanes(const __m256 (&acc)[R * O], float* lanes) {
#pragma GCC unroll 12
  for (int i = 0; i < R * O; ++i) _mm256_store_ps(lanes + i / O * kLanesRow + i % O * 8, acc[i]);
}

// 0x7F and 0xFF are no numbers and are looked for many at a time: the largest byte with its sign
// set is 0xFF then.
[[gnu::always_inline]] inline __m256i largest_code(__m256i so_far, __m256i bytes) {
  return _mm256_max_epu8(so_far, _mm256_or_si256(bytes, _mm256_set1_epi8(static_cast<char>(0x80))));
}
bool has_nan(__m256i largest) {
  return _mm256_movemask_epi8(_mm256_cmpeq_epi8(largest, _mm256_set1_epi8(-1))) != 0;
}

// With Check the largest codes are returned.
template <int R, int O, bool Check>
[[gnu::always_inline]] inline __m256i pass(const char* w, int64_t stride, const float* x,
                                           const Run& run, float* lanes, const Nearer& nearer) {
  __m256 acc[R * O];
  load_lanes<R, O>(run.begin == 0, lanes, acc);
  __m256i largest = _mm256_setzero_si256();
  const __m256i low_bytes = _mm256_set1_epi16(16);
  const char* fetch = nearer.from;
  w += int64_t{run.begin} * kStep;
#pragma GCC unroll 1
  for (int32_t s = run.begin; s < run.end; ++s, w += kStep, x += R * kStep, fetch += nearer.step) {
#pragma GCC unroll 4
    for (int o = 0; o < O; ++o) {
      const __m256i bytes = load_256(w + o * stride);
      if (o % 2 == 0) _mm_prefetch(fetch + o * 32, _MM_HINT_T0);
      if constexpr (Check) largest = largest_code(largest, bytes);
      // Both as signed 16 bits, four bits up: sign, exponent and mantissa are then where bf16 has
      // them, but for copies of the sign and what came up from the lower byte.
      const __m256i even = _mm256_maddubs_epi16(low_bytes, bytes);
      const __m256i odd = _mm256_srai_epi16(bytes, 4);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m256i half = j < 2 ? even : odd;
        const __m256 q = fields_of(j % 2 ? half : _mm256_slli_epi32(half, 16));
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r)
          acc[r * O + o] = _mm256_fmadd_ps(q, _mm256_load_ps(x + (j * R + r) * 8), acc[r * O + o]);
      }
    }
  }
  store_lanes<R, O>(acc, lanes);
  return largest;
}

// The same of a panel: [steps][O][even bytes, odd bytes][16], as bf16.
template <int R, int O>
[[gnu::always_inline]] inline void pass(const uint16_t* w, const float* x, const Run& run,
                                        float* lanes) {
  __m256 acc[R * O];
  load_lanes<R, O>(run.begin == 0, lanes, acc);
  w += int64_t{run.begin} * O * kStep;
#pragma GCC unroll 1
  for (int32_t s = run.begin; s < run.end; ++s, w += O * kStep, x += R * kStep) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m256 q[O];
#pragma GCC unroll 2
      for (int o = 0; o < O; ++o) {
        const __m256i half = load_256(w + o * kStep + j / 2 * 16);
        q[o] = j % 2 ? odd_of(half) : even_of(half);
      }
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const __m256 f = loaded(x + (j * R + r) * 8);
#pragma GCC unroll 2
        for (int o = 0; o < O; ++o) acc[r * O + o] = _mm256_fmadd_ps(q[o], f, acc[r * O + o]);
      }
    }
  }
  store_lanes<R, O>(acc, lanes);
}

// ---- Rows of weights that share their scales.

// What is multiplied next is fetched meanwhile: `lead` rows ahead. Behind the product's end too,
// for there the lane's next product mostly begins.
class Ahead {
 public:
  Ahead(const ParityProduct& p, int32_t first, int32_t lead)
      : w_(p.w), row_(p.first + first + lead), row_lines_((int64_t{p.w.cols} + 63) / 64) {
    lines_ = (p.outs - first) * row_lines_;
  }
  // The next `count` lines; `here` is any place in L1, for when nothing is left to fetch.
  Nearer next(int64_t count, int64_t step, const void* here) {
    if (at_ >= lines_) return {static_cast<const char*>(here), 0};
    const Nearer nearer{
        row_at(w_, row_ + static_cast<int32_t>(at_ / row_lines_)) + at_ % row_lines_ * 64, step};
    at_ += count;
    return nearer;
  }

 private:
  const Weight& w_;
  int32_t row_;
  int64_t row_lines_, lines_, at_ = 0;
};

struct Block {  // rows [first, first + outs) of the product, of one row of scales
  int32_t first, outs;
  bool nan[kScaleBlock];
};

bool row_has_nan(const ParityProduct& p, int32_t row) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(row_at(p.w, row));
  bool found = false;
  for (int32_t k = 0; k < p.w.cols; ++k) found |= (bytes[k] & 0x7F) == 0x7F;
  return found;
}

// Rows [o, o + O) of the block times one run of a tile, already scaled; `lanes` are theirs.
template <int R, int O, bool Check>
[[gnu::always_inline]] inline void group(const ParityProduct& p, Block& block, int32_t o,
                                         const float* x, const Run& run, float* lanes,
                                         Ahead& ahead) {
  const int32_t row = p.first + block.first + o;
  const Nearer nearer = Check ? ahead.next(int64_t{run.end - run.begin} * O / 2, O * kStep, lanes)
                              : Nearer{reinterpret_cast<const char*>(lanes), 0};
  const __m256i largest =
      pass<R, O, Check>(row_at(p.w, row), p.w.row_stride, x, run, lanes, nearer);
  if (Check && has_nan(largest))
    for (int i = 0; i < O; ++i) block.nan[o + i] |= row_has_nan(p, row + i);
}

// Rows [o, o + outs) of the block, at most a panel.
template <int R, int O, bool Check>
void panel_run(const ParityProduct& p, Block& block, int32_t o, int32_t outs, const float* x,
               const Run& run, float* lanes, Ahead& ahead) {
  int32_t i = 0;
  for (; i + O <= outs; i += O) group<R, O, Check>(p, block, o + i, x, run, lanes + i * 8, ahead);
  for (; i < outs; ++i) group<R, 1, Check>(p, block, o + i, x, run, lanes + i * 8, ahead);
}

template <int R>
void write_sums(const ParityProduct& p, int32_t t, int32_t first, int32_t outs,
                const float* lanes) {
  const __m256 factor = _mm256_set1_ps(kBytesOutOfY);
  for (int r = 0; r < R; ++r) {
    float* y = p.y + (p.x.tile_begin(t) + r) * p.y_stride + first;
    for (int32_t o = 0; o < outs; o += 8) {
      const __m256 sums =
          _mm256_mul_ps(eight_trees(lanes + r * kLanesRow + o * 8, outs - o), factor);
      if (outs - o >= 8) {
        _mm256_storeu_ps(y + o, sums);
      } else {
        alignas(32) float rest[8];
        _mm256_store_ps(rest, sums);
        std::memcpy(y + o, rest, static_cast<size_t>(outs - o) * 4);
      }
    }
  }
}

// Tile t, scaled, times rows [o, o + outs) of the block, at most a panel.
template <int R, bool Check>
void panel_tile(const ParityProduct& p, Block& block, int32_t t, int32_t o, int32_t outs,
                const float* x, Ahead& ahead) {
  constexpr int kGroup = R <= 3 ? 4 : 2;
  alignas(64) float lanes[R * kLanesRow];
  const int32_t steps = p.x.steps(), runs = runs_of(p.x, R);
  for (int32_t i = 0; i < runs; ++i) {
    const Run run{steps * i / runs, steps * (i + 1) / runs};
    panel_run<R, kGroup, Check>(p, block, o, outs, x + int64_t{run.begin} * R * kStep, run, lanes,
                                ahead);
  }
  write_sums<R>(p, t, block.first + o, outs, lanes);
}

template <int R>
void panel_tile(const ParityProduct& p, Block& block, int32_t t, int32_t o, int32_t outs,
                const float* x, Ahead& ahead) {
  t == 0 ? panel_tile<R, true>(p, block, t, o, outs, x, ahead)
         : panel_tile<R, false>(p, block, t, o, outs, x, ahead);
}

// Few rows of x: all of them are scaled at once.
void multiply_block(const ParityProduct& p, Block& block, Ahead& ahead, int32_t panel) {
  const float* scales = scales_at(p.w, p.first + block.first);
  for (int32_t t = 0; t < p.x.tiles(); ++t)
    scale_run(p, t, p.x.tile_begin(t + 1) - p.x.tile_begin(t), {0, p.x.steps()}, scales,
              p.panel + p.x.tile_at(t));
  for (int32_t o = 0; o < block.outs; o += panel) {
    const int32_t outs = block.outs - o < panel ? block.outs - o : panel;
    for (int32_t t = 0; t < p.x.tiles(); ++t) {
      const float* x = p.panel + p.x.tile_at(t);
      with_rows_of(p.x, t, [&]<int R>(Count<R>) { panel_tile<R>(p, block, t, o, outs, x, ahead); });
    }
  }
}

// ---- Many rows of x: a panel is decoded once.

// Rows of a panel are multiplied in pairs, an odd one alone.
struct Panel {
  uint16_t* data;
  int32_t steps, outs;
  const uint16_t* at(int32_t o) const { return data + int64_t{o} * steps * kStep; }
  uint16_t* place(int32_t o, int32_t* distance) const {
    const bool alone = outs % 2 == 1 && o == outs - 1;
    *distance = alone ? kStep : 2 * kStep;
    return data + int64_t{o - o % 2} * steps * kStep + o % 2 * kStep;
  }
};

// Returns whether there was a NaN.
bool decode_row(const ParityProduct& p, int32_t row, const Panel& panel, int32_t o, Ahead& ahead) {
  const __m256i low_bytes = _mm256_set1_epi16(16),
                fields = _mm256_set1_epi16(static_cast<int16_t>(0x87F0));
  const char* from = row_at(p.w, row);
  int32_t distance;
  uint16_t* to = panel.place(o, &distance);
  const Nearer nearer = ahead.next(panel.steps / 2, kStep, to);
  __m256i largest = _mm256_setzero_si256();
  for (int64_t s = 0; s < panel.steps; ++s, to += distance) {
    const __m256i bytes = load_256(from + s * kStep);
    _mm_prefetch(nearer.from + s * nearer.step, _MM_HINT_T0);
    largest = largest_code(largest, bytes);
    const __m256i even = _mm256_and_si256(_mm256_maddubs_epi16(low_bytes, bytes), fields);
    const __m256i odd = _mm256_and_si256(_mm256_srai_epi16(bytes, 4), fields);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), even);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + 16), odd);
  }
  return has_nan(largest);
}

template <int R>
void decoded_tile(const ParityProduct& p, const Block& block, int32_t t, int32_t o,
                  const Panel& panel, float* scaled) {
  alignas(64) float lanes[R * kLanesRow];
  const float* scales = scales_at(p.w, p.first + block.first);
  const int32_t runs = runs_of(p.x, R);
  for (int32_t i = 0; i < runs; ++i) {
    const Run run{panel.steps * i / runs, panel.steps * (i + 1) / runs};
    scale_run(p, t, R, run, scales, scaled);
    int32_t at = 0;
    for (; at + 2 <= panel.outs; at += 2) pass<R, 2>(panel.at(at), scaled, run, lanes + at * 8);
    if (at < panel.outs) pass<R, 1>(panel.at(at), scaled, run, lanes + at * 8);
  }
  write_sums<R>(p, t, block.first + o, panel.outs, lanes);
}

void multiply_decoded(const ParityProduct& p, Block& block, Ahead& ahead) {
  float* scaled = p.panel;
  auto* data = reinterpret_cast<uint16_t*>(scaled + kBytesRun + kParityTile * kStep);
  const int32_t rows = decoded_rows(p.w.cols);
  for (int32_t o = 0; o < block.outs; o += rows) {
    const Panel panel{data, p.x.steps(), block.outs - o < rows ? block.outs - o : rows};
    for (int32_t i = 0; i < panel.outs; ++i)
      block.nan[o + i] = decode_row(p, p.first + block.first + o + i, panel, i, ahead);
    for (int32_t t = 0; t < p.x.tiles(); ++t) {
      with_rows_of<4>(p.x, t,
                      [&]<int R>(Count<R>) { decoded_tile<R>(p, block, t, o, panel, scaled); });
    }
  }
}

void write_nans(const ParityProduct& p, const Block& block) {
  for (int32_t o = 0; o < block.outs; ++o)
    for (int32_t r = 0; block.nan[o] && r < p.x.count; ++r)
      p.y[r * p.y_stride + block.first + o] = __builtin_nanf("");
}

// ---- Any shape and any scales.

template <int R>
void wide_tile(const ParityProduct& p, int32_t t, int32_t o, const float* w) {
  const float* x = p.x.data + p.x.tile_at(t);
  __m256 acc[R];
  for (auto& a : acc) a = _mm256_setzero_ps();
  for (int64_t s = 0; s < int64_t{p.x.steps()} * 4; ++s)
    for (int r = 0; r < R; ++r)
      acc[r] =
          _mm256_fmadd_ps(_mm256_load_ps(w + s * 8), _mm256_load_ps(x + (s * R + r) * 8), acc[r]);
  alignas(32) float lanes[R * 8], sums[8];
  for (int r = 0; r < R; ++r) _mm256_store_ps(lanes + r * 8, acc[r]);
  _mm256_store_ps(sums, eight_trees(lanes, R));
  for (int r = 0; r < R; ++r) p.y[(p.x.tile_begin(t) + r) * p.y_stride + o] = sums[r];
}

void wide(const ParityProduct& p, int32_t o) {
  const int32_t cols = p.w.cols, steps = p.x.steps();
  float *row = p.panel, *sorted = row + int64_t{steps} * kStep;
  inner_avx2()->widen(p.w, p.first + o, false, row);
  std::memset(row + cols, 0, static_cast<size_t>(steps * kStep - cols) * 4);
  for (int32_t s = 0; s < steps; ++s) {
    const Quarters v = quarters_of(row + s * kStep);
    for (int j = 0; j < 4; ++j) _mm256_store_ps(sorted + (s * 4 + j) * 8, v.q[j]);
  }
  for (int32_t t = 0; t < p.x.tiles(); ++t) {
    with_rows_of(p.x, t, [&]<int R>(Count<R>) { wide_tile<R>(p, t, o, sorted); });
  }
}

}  // namespace

bool bytes_fit(const Weight& w, int32_t row) {
  if (w.cols % kStep != 0 || w.scale_col % kStep != 0) return false;
  const int32_t blocks = (w.cols + w.scale_col - 1) / kScaleBlock + 1;
  for (int32_t i = 0; i < blocks; ++i) {
    const float s = __builtin_fabsf(scales_at(w, row)[i]);
    if (!(s == 0 || (s >= 0x1p-60f && s <= 0x1p40f))) return false;
  }
  return true;
}

void multiply_bytes(const ParityProduct& p) {
  // With few tiles and several runs, a small panel: what it reads is fetched a panel ahead.
  const bool one_run = p.x.tiles() == 1 && runs_of(p.x, p.x.count) == 1;
  const bool many = p.x.tiles() > 2;
  const int32_t panel = one_run ? kBytesPanel : 16;
  const int32_t lead = many ? 1 : one_run ? (p.x.count <= 3 ? 4 : 2) : panel;
  Ahead ahead(p, 0, lead);
  for (int32_t o = 0, end; o < p.outs; o = end) {
    const int32_t row = p.first + o;
    end = o + kScaleBlock - (row + p.w.scale_row) % kScaleBlock;
    if (end > p.outs) end = p.outs;
    if (bytes_fit(p.w, row)) {
      Block block{.first = o, .outs = end - o, .nan = {}};
      many ? multiply_decoded(p, block, ahead) : multiply_block(p, block, ahead, panel);
      write_nans(p, block);
    } else {
      for (int32_t i = o; i < end; ++i) wide(p, i);
    }
  }
}

}  // namespace fathom

#else

namespace fathom {

void pack_for_bytes(const ParityPack&) {}
void multiply_bytes(const ParityProduct&) {}
bool bytes_fit(const Weight&, int32_t) { return false; }

}  // namespace fathom

#endif
