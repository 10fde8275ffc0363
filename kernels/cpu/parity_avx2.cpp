// How does AVX2 multiply even and odd lanes apart? For up to three rows of x, weights are decoded
// in registers and both parities are taken at once, since memory is the limit; for more, a run of
// columns passes twice over a tile. bf16 is always multiplied as it is stored, other weights are
// widened into a panel for more than three rows.
#include <cstdint>
#include <cstring>

#include "kernels/cpu/bytes.h"
#include "kernels/cpu/inner.h"
#include "kernels/cpu/parity.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/cpu/parity_vector.h"

namespace fathom {
namespace {

constexpr int32_t kStep = kParityStep;
constexpr int32_t kRunSteps = 128;  // of a run of columns: a tile's x of one parity is 24 KB of L1

// ---- Rows of x.

void pack(const ParityPack& p) {
  if (p.x.bytes) return pack_for_bytes(p);
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
        _mm256_storeu_ps(at, even);
        _mm256_storeu_ps(at + int64_t{p.x.steps()} * rows * 8, odd);
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

// Lines that a pass fetches while it multiplies: `each` of them, 0 to 4, every kBlock steps.
struct Nearer {
  const char* from;
  int32_t each;
};
constexpr int32_t kBlock = 4;

[[gnu::always_inline]] inline void fetch(const char* from, int32_t each) {
  if (each == 0) return;
  _mm_prefetch(from, _MM_HINT_T1);
  if (each == 1) return;
  _mm_prefetch(from + 64, _MM_HINT_T1);
  if (each == 2) return;
  _mm_prefetch(from + 128, _MM_HINT_T1);
  if (each == 3) return;
  _mm_prefetch(from + 192, _MM_HINT_T1);
}

// Where accumulators wait between runs, and for their trees: [R][kParityPanel][8]. Trees taken
// right behind the last product would hold up the next tile's.
constexpr int32_t kLanesRow = kParityPanel * 8;

// The sum stays in its register for certain: over several steps GCC writes it over a factor instead
// and sends others to memory.
[[gnu::always_inline]] inline __m256 plus_product(__m256 sum, __m256 a, __m256 b) {
  asm("vfmadd231ps %1, %2, %0" : "+x"(sum) : "x"(a), "x"(b));
  return sum;
}

template <bool Odd, int R, int O, class W>
[[gnu::always_inline]] inline void one_step(const W& w, const float* a, int64_t s,
                                            __m256 (&acc)[R * O]) {
  __m256 v[O];
#pragma GCC unroll 3
  for (int o = 0; o < O; ++o) v[o] = w.template load<Odd>(o, s);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    const __m256 f = loaded(a + r * 8);
#pragma GCC unroll 3
    for (int o = 0; o < O; ++o) acc[r * O + o] = plus_product(acc[r * O + o], v[o], f);
  }
}

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
  const char* from = nearer.from;
  int64_t s = run.begin;
#pragma GCC unroll 1
  for (; s + kBlock <= run.end; s += kBlock, a += kBlock * R * 8, from += nearer.each * 64) {
    fetch(from, nearer.each);
#pragma GCC unroll 4
    for (int i = 0; i < kBlock; ++i) one_step<Odd, R, O>(w, a + i * R * 8, s + i, acc);
  }
#pragma GCC unroll 1
  for (; s < run.end; ++s, a += R * 8) one_step<Odd, R, O>(w, a, s, acc);
#pragma GCC unroll 12
  for (int i = 0; i < R * O; ++i) _mm256_store_ps(lanes + i / O * kLanesRow + i % O * 8, acc[i]);
}

const char* row_at(const Weight& w, int32_t row) {
  return static_cast<const char*>(w.data) + row * w.row_stride * dtype_bytes(w.dtype);
}

int32_t runs_of(const ParityRows& x) { return (x.steps() + kRunSteps - 1) / kRunSteps; }

// The panel after this one, or what p.next names, is fetched while this one is multiplied, evenly:
// in bursts the lines would wait for memory and the products for the lines. Many tiles of x would
// push out what comes early, so it is the last few that fetch.
class PanelAhead {
 public:
  PanelAhead(const ParityProduct& p, int32_t first, int32_t groups) : w_(&p.w) {
    row_ = p.first + first + kParityPanel;
    rows_ = p.outs - first - kParityPanel;
    if (rows_ <= 0) {
      w_ = &p.next;
      row_ = p.next_first;
      rows_ = p.next.data ? p.next.rows - row_ : 0;
    }
    if (rows_ > kParityPanel) rows_ = kParityPanel;
    row_lines_ = (int64_t{w_->cols} * dtype_bytes(w_->dtype) + 63) / 64;
    constexpr int32_t kTiles = 8;
    const int32_t tiles = p.x.tiles() < kTiles ? p.x.tiles() : kTiles;
    idle_ = int64_t{p.x.tiles() - tiles} * runs_of(p.x) * 2 * groups;
    const int64_t blocks = int64_t{tiles} * 2 * groups * (p.x.steps() / kBlock);
    per_block_ = blocks == 0 ? 0
                             : static_cast<float>(rows_ * row_lines_ + 2 * kBlock) /
                                   static_cast<float>(blocks);
  }
  // What a pass over so many steps fetches.
  Nearer next(int32_t steps) {
    const Nearer none{nullptr, 0};
    if (idle_ > 0) return --idle_, none;
    const int32_t blocks = steps / kBlock;
    if (blocks == 0 || at_ >= rows_ * row_lines_) return none;
    credit_ += per_block_ * static_cast<float>(blocks);
    const auto each = static_cast<int32_t>(credit_ / static_cast<float>(blocks));
    if (each == 0) return none;
    const Nearer nearer{
        row_at(*w_, row_ + static_cast<int32_t>(at_ / row_lines_)) + at_ % row_lines_ * 64,
        each < 4 ? each : 4};
    at_ += int64_t{nearer.each} * blocks;
    credit_ -= static_cast<float>(nearer.each * blocks);
    return nearer;
  }

 private:
  const Weight* w_;
  int32_t row_;
  int64_t rows_, row_lines_, idle_, at_ = 0;
  float per_block_, credit_ = 0;
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
                    float* lanes, PanelAhead& ahead) {
  const int32_t steps = p.x.steps(), runs = runs_of(p.x);
  const float* x = p.x.data + p.x.tile_at(t) + (Odd ? int64_t{steps} * R * 8 : 0);
  for (int32_t i = 0; i < runs; ++i) {
    const Run run{steps * i / runs, steps * (i + 1) / runs};
    const int32_t length = run.end - run.begin;
    int32_t o = 0;
    for (; o + O <= outs; o += O)
      pass<Odd, R, O>(source.template rows<O>(o), x, run, lanes + o * 8, ahead.next(length));
    if (O == 3 && outs - o == 2) {
      pass<Odd, R, 2>(source.template rows<2>(o), x, run, lanes + o * 8, ahead.next(length));
      continue;
    }
    for (; o < outs; ++o)
      pass<Odd, R, 1>(source.template rows<1>(o), x, run, lanes + o * 8, ahead.next(length));
  }
}

template <int R, int O, class Source>
void tile_of_rows(const ParityProduct& p, const Source& source, int32_t t, int32_t first,
                  int32_t outs, PanelAhead& ahead) {
  alignas(64) float lanes[2][R * kLanesRow];
  tile_of_parity<false, R, O>(p, source, t, outs, lanes[0], ahead);
  tile_of_parity<true, R, O>(p, source, t, outs, lanes[1], ahead);
  for (int r = 0; r < R; ++r) {
    float* y = p.y + (p.x.tile_begin(t) + r) * p.y_stride + first;
    for (int32_t o = 0; o < outs; o += 8) {
      const auto trees = [&](int odd) {
        return eight_trees(lanes[odd] + r * kLanesRow + o * 8, outs - o);
      };
      const __m256 sums = _mm256_add_ps(trees(0), trees(1));
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

// Tiles of up to 4 rows go with 3 rows of weights, larger ones with 2.
int32_t group_width(const ParityRows& x) {
  return (x.count + x.tiles() - 1) / x.tiles() <= 4 ? 3 : 2;
}

// All of x times rows [first, first + outs) of the product, a panel.
template <class Source>
void tiles_of_rows(const ParityProduct& p, const Source& source, int32_t first, int32_t outs) {
  const bool narrow = group_width(p.x) == 3;
  PanelAhead panel_ahead(p, first, outs / group_width(p.x));
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

struct PanelSource {
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
void widen_row(const ParityProduct& p, const PanelSource& panel, int32_t o, float* buffer) {
  const int32_t cols = p.w.cols, steps = p.x.steps();
  inner_avx2()->widen(p.w, panel.first + o, p.round, buffer);
  std::memset(buffer + cols, 0, static_cast<size_t>(steps * kStep - cols) * 4);
  const auto to = panel.place(o);
  for (int32_t s = 0; s < steps; ++s) {
    const __m256 even = parity_of<false>(buffer + s * kStep),
                 odd = parity_of<true>(buffer + s * kStep);
    _mm256_store_ps(to.even + s * to.distance, even);
    _mm256_store_ps(to.odd + s * to.distance, odd);
  }
}

void panel_product(const ParityProduct& p, int32_t o, int32_t outs) {
  const int32_t steps = p.x.steps();
  const PanelSource panel{p.w, p.first + o, p.panel, outs, steps, group_width(p.x)};
  float* buffer = p.panel + int64_t{kParityPanel} * steps * kStep;
  for (int32_t i = 0; i < outs; ++i) widen_row(p, panel, i, buffer);
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
  // Short rows are fetched in the order of memory, long ones side by side.
  const bool in_order = p.w.row_stride <= 1024;
  const int64_t beside = in_order ? kStep : p.w.row_stride, further = in_order ? O * kStep : kStep;
  const uint16_t* ahead = w[0] + p.w.row_stride * O;
#pragma GCC unroll 1
  for (int64_t s = 0; s < steps; ++s, ahead += further)
#pragma GCC unroll 4
    for (int i = 0; i < O; ++i) {
      const __m256i v = load_256(w[i] + s * kStep);
      _mm_prefetch(ahead + i * beside, _MM_HINT_T0);
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
  _mm256_store_ps(sums, _mm256_add_ps(eight_trees(lanes[0], R * O), eight_trees(lanes[1], R * O)));
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < O; ++i) p.y[r * p.y_stride + o + i] = sums[r * O + i];
}

template <int R, int O>
void few_bf16(const ParityProduct& p) {
  int32_t o = 0;
  for (; o + O <= p.outs; o += O) few_bf16<R, O>(p, o);
  for (; o < p.outs; ++o) few_bf16<R, 1>(p, o);
}

// ---- Which way a product takes.

void multiply(const ParityProduct& p) {
  if (p.x.bytes) return multiply_bytes(p);
  const bool in_place = p.w.dtype == DType::bf16 && p.w.cols % kStep == 0;
  if (in_place && p.x.count == 1) return few_bf16<1, 4>(p);
  if (in_place && p.x.count == 2) return few_bf16<2, 2>(p);
  if (in_place && p.x.count == 3) return few_bf16<3, 2>(p);
  for (int32_t o = 0; o < p.outs; o += kParityPanel) {
    const int32_t outs = p.outs - o < kParityPanel ? p.outs - o : kParityPanel;
    in_place ? tiles_of_rows(p, Bf16Source{p.w, p.first + o}, o, outs) : panel_product(p, o, outs);
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
