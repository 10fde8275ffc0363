// How are the inner loops written over vectors of 16 floats? Once, over the type V and the
// primitives that the including file defines before this include (inner_avx2.cpp,
// inner_avx512.cpp). Everything is in the includer's anonymous namespace and nothing of the
// standard library is instantiated, so no copy built for one instruction set can be linked into
// code that runs on another.
//
// A tile is `kTileRows` rows of x times `kTileOuts` rows of w with one accumulator each. Weights
// are read straight from their storage for up to kTileRows rows of x; for more rows 16 weight rows
// at a time are widened into a panel, which stays in L2 while all rows of x pass over it. Widening
// gives the same values on both ways, and every output is its own chain of multiply-adds over k, so
// the way does not show in the bits.

#include "kernels/cpu/inner.h"

namespace fathom {
namespace {

// Where weights of each kind are found: load(row, k) gives w[row, k .. k + 16), load_part the first
// n of them.
struct F32Weights {
  const float* data;
  int64_t stride;
  V load(int32_t row, int32_t k) const { return load_f32(data + row * stride + k); }
  V load_part(int32_t row, int32_t k, int32_t n) const {
    return load_f32_part(data + row * stride + k, n);
  }
};

struct Bf16Weights {
  const uint16_t* data;
  int64_t stride;
  V load(int32_t row, int32_t k) const { return load_bf16(data + row * stride + k); }
  V load_part(int32_t row, int32_t k, int32_t n) const {
    return load_bf16_part(data + row * stride + k, n);
  }
};

struct F16Weights {
  const uint16_t* data;
  int64_t stride;
  V load(int32_t row, int32_t k) const { return load_f16(data + row * stride + k); }
  V load_part(int32_t row, int32_t k, int32_t n) const {
    return load_f16_part(data + row * stride + k, n);
  }
};

// e4m3 values are loaded as 1/256 of what they are (see load_e4m3), so scales are taken 256 times:
// both factors are powers of two, and the product is rounded once.
struct Fp8Weights {
  const uint8_t* data;
  int64_t stride;
  const float* scale;
  int64_t scale_stride;
  int32_t scale_row, scale_col;

  // Scales of columns [k, k + n), n <= 16, of which only the first and the second block can differ.
  V scale_at(int32_t row, int32_t k, int32_t n) const {
    const int32_t at = k + scale_col, edge = kScaleBlock - at % kScaleBlock;
    const float* s = scale + (row + scale_row) / kScaleBlock * scale_stride + at / kScaleBlock;
    return edge >= n ? set1(s[0] * 256.0f) : set2(s[0] * 256.0f, s[1] * 256.0f, edge);
  }
  V load(int32_t row, int32_t k) const {
    return mul(load_e4m3(data + row * stride + k), scale_at(row, k, 16));
  }
  V load_part(int32_t row, int32_t k, int32_t n) const {
    return mul(load_e4m3_part(data + row * stride + k, n), scale_at(row, k, n));
  }
};

// The same where scale blocks begin at multiples of 16 columns: the scale of every 16 columns
// stands in a table, so that nothing but one load is left to find it.
struct AlignedFp8Weights {
  const uint8_t* data;
  int64_t stride;
  const float* table;  // [blocks of rows, columns / 16]
  int64_t table_stride;
  int32_t scale_row;  // of row 0, less the blocks before the table's first

  V load(int32_t row, int32_t k) const {
    return mul(load_e4m3(data + row * stride + k), scale_at(row, k));
  }
  V load_part(int32_t row, int32_t k, int32_t n) const {
    return mul(load_e4m3_part(data + row * stride + k, n), scale_at(row, k));
  }

 private:
  V scale_at(int32_t row, int32_t k) const {
    return set1(table[((row + scale_row) >> 7) * table_stride + (k >> 4)]);
  }
};

F32Weights f32_weights(const Weight& w) {
  return {static_cast<const float*>(w.data), w.row_stride};
}
Bf16Weights bf16_weights(const Weight& w) {
  return {static_cast<const uint16_t*>(w.data), w.row_stride};
}
F16Weights f16_weights(const Weight& w) {
  return {static_cast<const uint16_t*>(w.data), w.row_stride};
}
Fp8Weights fp8_weights(const Weight& w) {
  return {static_cast<const uint8_t*>(w.data),
          w.row_stride,
          w.scale,
          w.scale_stride,
          w.scale_row,
          w.scale_col};
}

// Calls use(weights) with the weights' own kind.
template <class F>
void with_weights(const Weight& w, F&& use) {
  switch (w.dtype) {
    case DType::f32:
      return use(f32_weights(w));
    case DType::bf16:
      return use(bf16_weights(w));
    case DType::f16:
      return use(f16_weights(w));
    case DType::f8_e4m3:
      return use(fp8_weights(w));
    case DType::i8:  // no weight is stored so
      __builtin_trap();
  }
}

// The same for rows [first, first + outs) that are read straight from storage; the panel, which is
// not needed then, holds the table of scales: a row of it is 1/16 of a panel's row, so there is
// room for 512 blocks of rows.
template <class F>
void with_streamed_weights(const DotsParams& p, F&& use) {
  const Weight& w = p.w;
  const int32_t first_block = (p.first + w.scale_row) / kScaleBlock;
  const int32_t blocks = (p.first + p.outs - 1 + w.scale_row) / kScaleBlock - first_block + 1;
  if (w.dtype != DType::f8_e4m3 || w.scale_col % 16 != 0 || blocks > 16 * kPanelRows)
    return with_weights(w, use);
  const int32_t width = (w.cols + 15) / 16;
  for (int32_t b = 0; b < blocks; ++b)
    for (int32_t i = 0; i < width; ++i)
      p.panel[b * width + i] =
          w.scale[(first_block + b) * w.scale_stride + (16 * i + w.scale_col) / kScaleBlock] *
          256.0f;
  use(AlignedFp8Weights{static_cast<const uint8_t*>(w.data), w.row_stride, p.panel, width,
                        w.scale_row - first_block * kScaleBlock});
}

// Products of float32. `Round` rounds the weights to bf16 after widening.
template <class W, bool Round>
struct FloatProducts {
  using X = float;
  static constexpr int32_t kStep = 16;
  W w;
  using Vector = V;
  Vector weight(int32_t row, int32_t k) const { return rounded(w.load(row, k)); }
  Vector weight_part(int32_t row, int32_t k, int32_t n) const {
    return rounded(w.load_part(row, k, n));
  }
  static Vector x(const float* p) { return load_f32(p); }
  static Vector x_part(const float* p, int32_t n) { return load_f32_part(p, n); }
  static V add_product(V acc, Vector a, Vector b) { return fma(a, b, acc); }

 private:
  static V rounded(V v) {
    if constexpr (Round) return round_bf16(v);
    return v;
  }
};

// One run of columns [begin, end) of a product. Longer products are cut into runs of kRun columns,
// so that a tile's rows of x stay in L1 while all its weight rows pass; the accumulators wait in
// `lanes` meanwhile, which changes no bit.
constexpr int32_t kRun = 1024;
struct Run {
  int32_t begin, end;
  bool first, last;
  float* lanes;  // of this tile
};

// y[r, o] for R rows of x and O rows of w.
template <int R, int O, class P>
void tile(const P& p, const typename P::X* x, int64_t x_stride, int32_t row, const Run& run,
          float* y, int64_t y_stride) {
  V acc[R][O];
  for (int r = 0; r < R; ++r)
    for (int o = 0; o < O; ++o)
      acc[r][o] = run.first ? zero() : load_f32(run.lanes + (r * O + o) * 16);
  int32_t k = run.begin;
  for (; k + P::kStep <= run.end; k += P::kStep) {
    typename P::Vector w[O];
    for (int o = 0; o < O; ++o) w[o] = p.weight(row + o, k);
    for (int r = 0; r < R; ++r) {
      const typename P::Vector a = P::x(x + r * x_stride + k);
      for (int o = 0; o < O; ++o) acc[r][o] = P::add_product(acc[r][o], w[o], a);
    }
  }
  if (k < run.end) {
    const int32_t n = run.end - k;
    typename P::Vector w[O];
    for (int o = 0; o < O; ++o) w[o] = p.weight_part(row + o, k, n);
    for (int r = 0; r < R; ++r) {
      const typename P::Vector a = P::x_part(x + r * x_stride + k, n);
      for (int o = 0; o < O; ++o) acc[r][o] = P::add_product(acc[r][o], w[o], a);
    }
  }
  for (int r = 0; r < R; ++r) {
    if (!run.last)
      for (int o = 0; o < O; ++o) store_f32(run.lanes + (r * O + o) * 16, acc[r][o]);
    else if constexpr (O == 4)
      store_trees4(y + r * y_stride, acc[r]);
    else
      for (int o = 0; o < O; ++o) y[r * y_stride + o] = tree(acc[r][o]);
  }
}

template <int R, class P>
void tiles_of_rows(const P& p, const typename P::X* x, int64_t x_stride, int32_t first,
                   int32_t outs, int32_t n, float* y, int64_t y_stride) {
  float lanes[R * kPanelRows * 16];
  // Few rows fit into L1 whole, and more than a panel of weights comes only with few rows.
  const int32_t step = outs > kPanelRows || R <= 2 ? n : kRun;
  for (int32_t begin = 0; begin < n; begin += step) {
    const int32_t end = n - begin < step ? n : begin + step;
    int32_t o = 0;
    for (; o + kTileOuts <= outs; o += kTileOuts)
      tile<R, kTileOuts>(p, x, x_stride, first + o,
                         {begin, end, begin == 0, end == n, lanes + o % kPanelRows * R * 16}, y + o,
                         y_stride);
    for (; o < outs; ++o)
      tile<R, 1>(p, x, x_stride, first + o,
                 {begin, end, begin == 0, end == n, lanes + o % kPanelRows * R * 16}, y + o,
                 y_stride);
  }
}

// All rows of x times w[first .. first + outs), in tiles of nearly equal numbers of rows.
template <class P>
void all_tiles(const P& p, const Rows& x, int32_t first, int32_t outs, int32_t n, float* y,
               int64_t y_stride) {
  const auto* data = static_cast<const typename P::X*>(x.data);
  const int32_t tiles = (x.count + kTileRows - 1) / kTileRows;
  for (int32_t t = 0, r = 0; t < tiles; ++t) {
    const int32_t rows = (x.count - r + tiles - t - 1) / (tiles - t);
    const auto* from = data + r * x.stride;
    float* to = y + r * y_stride;
    switch (rows) {
      case 1:
        tiles_of_rows<1>(p, from, x.stride, first, outs, n, to, y_stride);
        break;
      case 2:
        tiles_of_rows<2>(p, from, x.stride, first, outs, n, to, y_stride);
        break;
      case 3:
        tiles_of_rows<3 <= kTileRows ? 3 : 1>(p, from, x.stride, first, outs, n, to, y_stride);
        break;
      case 4:
        tiles_of_rows<4 <= kTileRows ? 4 : 1>(p, from, x.stride, first, outs, n, to, y_stride);
        break;
      case 5:
        tiles_of_rows<5 <= kTileRows ? 5 : 1>(p, from, x.stride, first, outs, n, to, y_stride);
        break;
      default:
        tiles_of_rows<kTileRows>(p, from, x.stride, first, outs, n, to, y_stride);
        break;
    }
    r += rows;
  }
}

// How many weight rows are widened at a time: few rows of x do not repay the way of a large panel
// through L2.
int32_t panel_rows(int32_t x_rows) { return x_rows <= 4 * kTileRows ? kTileOuts : kPanelRows; }

template <class W>
void widen_row(const W& w, int32_t row, int32_t n, bool round, float* out) {
  int32_t k = 0;
  for (; k + 16 <= n; k += 16) {
    const V v = w.load(row, k);
    store_f32(out + k, round ? round_bf16(v) : v);
  }
  if (k < n) {
    const V v = w.load_part(row, k, n - k);
    store_f32_part(out + k, round ? round_bf16(v) : v, n - k);
  }
}

void widen(const Weight& w, int32_t row, bool round, float* out) {
  with_weights(w, [&](const auto& weights) { widen_row(weights, row, w.cols, round, out); });
}

// Weights that need no widening: kPanelRows of them at a time stay in cache while all of x passes.
template <class P>
void by_panels(const P& weights, const DotsParams& p) {
  const int32_t step = p.x.count <= kTileRows ? p.outs : kPanelRows;
  for (int32_t o = 0; o < p.outs; o += step)
    all_tiles(weights, p.x, p.first + o, p.outs - o < step ? p.outs - o : step, p.w.cols, p.y + o,
              p.y_stride);
}

template <bool Round>
void float_dots_of(const DotsParams& p) {
  // Widening bf16 or f16 again for each tile of rows is cheaper than a panel for up to three tiles,
  // e4m3 never.
  const bool narrow = p.w.dtype == DType::bf16 || p.w.dtype == DType::f16;
  if (p.x.count <= (narrow ? 3 * kTileRows : kTileRows))
    return with_streamed_weights(
        p, [&]<class W>(const W& w) { by_panels(FloatProducts<W, Round>{w}, p); });
  const int64_t stride = (p.w.cols + 31) / 32 * 32;
  const FloatProducts<F32Weights, false> panel{{p.panel, stride}};
  const int32_t step = panel_rows(p.x.count);
  for (int32_t o = 0; o < p.outs; o += step) {
    const int32_t rows = p.outs - o < step ? p.outs - o : step;
    for (int32_t i = 0; i < rows; ++i) widen(p.w, p.first + o + i, Round, p.panel + i * stride);
    all_tiles(panel, p.x, 0, rows, p.w.cols, p.y + o, p.y_stride);
  }
}

void float_dots(const DotsParams& p) {
  if (p.round && p.w.dtype != DType::bf16) return float_dots_of<true>(p);
  if (p.w.dtype == DType::f32)
    return by_panels(FloatProducts<F32Weights, false>{f32_weights(p.w)}, p);
  float_dots_of<false>(p);
}

// R rows times J vectors of columns.
template <int R, int J>
void combine_tile(const CombineParams& p, int32_t r, int32_t j) {
  V acc[R][J];
  float* z = p.z + r * p.z_stride + j;
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < J; ++v) acc[i][v] = load_f32(z + i * p.z_stride + 16 * v);
  const float* c = p.c + j;
  const float* a = p.p + r * p.p_stride;
  for (int32_t t = 0; t < p.depth; ++t, c += p.c_stride, ++a) {
    V from[J];
    for (int v = 0; v < J; ++v) from[v] = load_f32(c + 16 * v);
    for (int i = 0; i < R; ++i) {
      const V factor = set1(a[i * p.p_stride]);
      for (int v = 0; v < J; ++v) acc[i][v] = fma(factor, from[v], acc[i][v]);
    }
  }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < J; ++v) store_f32(z + i * p.z_stride + 16 * v, acc[i][v]);
}

// All rows over one group of columns, which stays in L1 meanwhile.
template <int J>
void combine_columns(const CombineParams& p, int32_t j) {
  int32_t r = 0;
  for (; r + kTileRows <= p.rows; r += kTileRows) combine_tile<kTileRows, J>(p, r, j);
  if constexpr (kTileRows > 4)
    for (; r + 4 <= p.rows; r += 4) combine_tile<4, J>(p, r, j);
  for (; r + 2 <= p.rows; r += 2) combine_tile<2, J>(p, r, j);
  for (; r < p.rows; ++r) combine_tile<1, J>(p, r, j);
}

void combine(const CombineParams& p) {
  int32_t j = 0;
  for (; j + 16 * kTileOuts <= p.width; j += 16 * kTileOuts) combine_columns<kTileOuts>(p, j);
  for (; j + 16 <= p.width; j += 16) combine_columns<1>(p, j);
  const int32_t n = p.width - j;
  for (int32_t r = 0; n > 0 && r < p.rows; ++r) {
    float* z = p.z + r * p.z_stride + j;
    V acc = load_f32_part(z, n);
    for (int32_t t = 0; t < p.depth; ++t)
      acc = fma(set1(p.p[r * p.p_stride + t]), load_f32_part(p.c + t * p.c_stride + j, n), acc);
    store_f32_part(z, acc, n);
  }
}

void pack(const float* x, int32_t n, int32_t padded, uint16_t* out) {
  int32_t i = 0;
  for (; i + 16 <= n; i += 16) store_bf16(out + i, load_f32(x + i));
  if (i < n) {
    store_bf16_part(out + i, load_f32_part(x + i, n - i), n - i);
    i = n;
  }
  for (; i < padded; ++i) out[i] = 0;
}

// Runs f on 16 elements at a time; the last, shorter run sees zeros behind its n elements.
template <class F>
void map(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, 16);
  if (i < n) f(i, static_cast<int32_t>(n - i));
}
V load_n(const float* p, int32_t n) { return n == 16 ? load_f32(p) : load_f32_part(p, n); }
void store_n(float* p, V v, int32_t n) { n == 16 ? store_f32(p, v) : store_f32_part(p, v, n); }

float sum_squares(const float* x, int32_t n) {
  V acc = zero();
  map(n, [&](int64_t i, int32_t m) {
    const V v = load_n(x + i, m);
    acc = fma(v, v, acc);
  });
  return tree(acc);
}

void scale_by(const float* x, const float* w, float factor, int32_t n, float* out) {
  map(n, [&](int64_t i, int32_t m) {
    store_n(out + i, mul(load_n(w + i, m), mul(load_n(x + i, m), set1(factor))), m);
  });
}

void swiglu(const float* gate, const float* up, int32_t n, float* out) {
  map(n, [&](int64_t i, int32_t m) {
    const V g = load_n(gate + i, m);
    const V silu = div(g, add(set1(1.0f), exp(sub(zero(), g))));
    store_n(out + i, mul(silu, load_n(up + i, m)), m);
  });
}

float softmax_tile(float* s, int32_t n, float scale, SoftmaxState* state) {
  float largest = state->largest;
  V most = set1(largest);
  map(n, [&](int64_t i, int32_t m) {
    if (m == 16) {
      const V v = mul(load_f32(s + i), set1(scale));
      store_f32(s + i, v);
      most = max(most, v);
    } else {
      for (int32_t j = 0; j < m; ++j) {
        s[i + j] *= scale;
        if (s[i + j] > largest) largest = s[i + j];
      }
    }
  });
  largest = largest_of(most, largest);
  const float shrink =
      state->largest == largest ? 1.0f : first_of(exp(set1(state->largest - largest)));
  V sum = zero();
  map(n, [&](int64_t i, int32_t m) {
    const V e = exp(sub(load_n(s + i, m), set1(largest)));
    store_n(s + i, e, m);
    sum =
        add(sum, m == 16 ? e : load_f32_part(s + i, m));  // nothing behind the last element counts
  });
  state->sum = state->sum * shrink + tree(sum);
  state->largest = largest;
  return shrink;
}

void multiply(float* x, float factor, int32_t n) {
  map(n, [&](int64_t i, int32_t m) { store_n(x + i, mul(load_n(x + i, m), set1(factor)), m); });
}

void add_to(float* x, const float* y, int64_t n) {
  map(n, [&](int64_t i, int32_t m) { store_n(x + i, add(load_n(x + i, m), load_n(y + i, m)), m); });
}

void axpy(float* x, float factor, const float* y, int32_t n) {
  map(n, [&](int64_t i, int32_t m) {
    store_n(x + i, fma(set1(factor), load_n(y + i, m), load_n(x + i, m)), m);
  });
}

int64_t burst(int64_t steps, float* sink) {
  constexpr int kChains = kTileRows * kTileOuts;
  V acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = set1(static_cast<float>(i));
  const V half = set1(0.5f), one = set1(1.0f);
  for (int64_t s = 0; s < steps; ++s)
    for (int i = 0; i < kChains; ++i) acc[i] = fma(acc[i], half, one);
  V sum = zero();
  for (int i = 0; i < kChains; ++i) sum = add(sum, acc[i]);
  *sink = tree(sum);
  return steps * kChains * 16;
}

}  // namespace
}  // namespace fathom
