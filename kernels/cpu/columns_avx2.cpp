// How are products with queries as columns taken with AVX2? By tiles of 6 rows times 2 registers of
// columns, or 12 times 1: twelve accumulators, what is multiplied with them in one or two, and a
// broadcast element. Depth is cut into runs of which a strip of columns and a tile's rows fit into
// L1; sums wait in z between runs.
#include <cstdint>
#include <limits>

#include "kernels/cpu/inner.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "kernels/cpu/exp_avx2.h"

namespace fathom {
namespace {

constexpr int32_t kHalf = 8;         // floats of a register
constexpr int32_t kRunDepth = 256;   // 16 kB of a strip, 6 kB of rows
constexpr int32_t kLongDepth = 384;  // up to which depth is not cut
constexpr int64_t kLine = 64;

// Some of a product: one strip, one run.
struct Part {
  const float* a;
  int64_t a_row, a_step;
  const float* c;
  int64_t c_step;
  int32_t depth;
  float* z;
  int64_t z_row;
  const float* keep;
  bool fresh;          // z held nothing
  ColumnFetch* fetch;  // what is left of it
  int32_t fetch_rows;  // with every tile
};

// Rows [row, row + R) times J registers. `Along`: elements of a row lie side by side, otherwise
// those of a step do.
template <int R, int J, bool Along>
void tile(const Part& p, int32_t row) {
  __m256 sums[R][J];
  float* z = p.z + row * p.z_row;
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < J; ++j)
      sums[i][j] = p.fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(z + i * p.z_row + j * kHalf);
  if (p.keep)
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < J; ++j)
        sums[i][j] = _mm256_mul_ps(sums[i][j], _mm256_broadcast_ss(p.keep + row + i));
  // One address for three rows: the machine adds a row's distance once or twice.
  const float* a[(R + 2) / 3];
  for (int i = 0; i < R; i += 3) a[i / 3] = p.a + (row + i) * p.a_row;
  const float* dense = p.a + row;
  const float* c = p.c;
  for (int32_t k = 0; k < p.depth; ++k, c += p.c_step) {
    __m256 columns[J];
    for (int j = 0; j < J; ++j) columns[j] = _mm256_loadu_ps(c + j * kHalf);
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
      const __m256 factor = _mm256_broadcast_ss(Along ? a[i / 3] + i % 3 * p.a_row : dense + i);
      for (int j = 0; j < J; ++j) sums[i][j] = _mm256_fmadd_ps(factor, columns[j], sums[i][j]);
    }
    if constexpr (Along)
      for (const float*& at : a) ++at;
    else
      dense += p.a_step;
  }
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < J; ++j) _mm256_storeu_ps(z + i * p.z_row + j * kHalf, sums[i][j]);
}

template <int R, int J, bool Along>
void tile_of(const Part& p, int32_t row, int32_t rows) {
  if (rows == R) return tile<R, J, Along>(p, row);
  if constexpr (R > 1) tile_of<R - 1, J, Along>(p, row, rows);
}

void fetch(const Part& p) {
  ColumnFetch& f = *p.fetch;
  for (int32_t i = 0; i < p.fetch_rows && f.rows > 0; ++i, --f.rows, f.data += f.stride)
    for (int64_t at = 0; at < f.bytes; at += kLine) _mm_prefetch(f.data + at, _MM_HINT_T1);
}

// All rows, in tiles of nearly equal numbers of them.
template <int J, bool Along>
void all_rows(const Part& p, int32_t rows) {
  constexpr int kRows = 12 / J;
  const int32_t tiles = (rows + kRows - 1) / kRows;
  for (int32_t t = 0, row = 0; t < tiles; ++t) {
    const int32_t count = (rows - row + tiles - t - 1) / (tiles - t);
    fetch(p);
    tile_of<kRows, J, Along>(p, row, count);
    row += count;
  }
}

void product(const ColumnProduct& p) {
  const int32_t step = p.depth <= kLongDepth ? p.depth : kRunDepth;
  ColumnFetch left = p.fetch;
  // Tiles of all runs and strips, at least.
  const int32_t tiles =
      (p.rows + 5) / 6 * ((p.columns + kColumns - 1) / kColumns) * ((p.depth + step - 1) / step);
  for (int32_t begin = 0; begin < p.depth; begin += step)
    for (int32_t j = 0; j < p.columns; j += kColumns) {
      const int64_t strip = j / kColumns;
      const bool first = begin == 0;
      const Part part{.a = p.a + begin * p.a_step,
                      .a_row = p.a_row,
                      .a_step = p.a_step,
                      .c = p.c + strip * p.c_strip + begin * p.c_step,
                      .c_step = p.c_step,
                      .depth = p.depth - begin < step ? p.depth - begin : step,
                      .z = p.z + strip * p.z_strip,
                      .z_row = p.z_row,
                      .keep = first ? p.keep : nullptr,
                      .fresh = first && !p.keep,
                      .fetch = &left,
                      .fetch_rows = left.rows > 0 ? p.fetch.rows / tiles + 1 : 0};
      const bool along = p.a_step == 1;
      if (p.columns - j > kHalf)
        along ? all_rows<2, true>(part, p.rows) : all_rows<2, false>(part, p.rows);
      else
        along ? all_rows<1, true>(part, p.rows) : all_rows<1, false>(part, p.rows);
    }
}

// Eight queries. The state of one that sees nothing stays as it is.
template <bool Masked>
void softmax_half(float* scores, int32_t count, __m256i seen, __m256 scale, __m256* largest,
                  __m256* sum, float* shrink) {
  const __m256 none = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  const auto visible = [&](int32_t t) {
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(seen, _mm256_set1_epi32(t)));
  };
  const __m256 before = *largest;
  __m256 most = before;
  for (int32_t t = 0; t < count; ++t) {
    float* at = scores + t * kColumns;
    __m256 s = _mm256_mul_ps(_mm256_loadu_ps(at), scale);
    _mm256_storeu_ps(at, s);
    if constexpr (Masked) s = _mm256_blendv_ps(none, s, visible(t));
    most = _mm256_max_ps(most, s);
  }
  const __m256 moved = exp_half(_mm256_sub_ps(before, most));
  const __m256 factor =
      _mm256_blendv_ps(moved, _mm256_set1_ps(1.0f), _mm256_cmp_ps(before, most, _CMP_EQ_OQ));
  __m256 sums = _mm256_setzero_ps();
  for (int32_t t = 0; t < count; ++t) {
    float* at = scores + t * kColumns;
    __m256 e = exp_half(_mm256_sub_ps(_mm256_loadu_ps(at), most));
    if constexpr (Masked) e = _mm256_and_ps(e, visible(t));
    _mm256_storeu_ps(at, e);
    sums = _mm256_add_ps(sums, e);
  }
  *sum = _mm256_fmadd_ps(*sum, factor, sums);
  *largest = most;
  _mm256_storeu_ps(shrink, factor);
}

void softmax(const ColumnSoftmax& p) {
  float largest[kColumns] = {}, sum[kColumns] = {};
  int32_t seen[kColumns] = {};
  int32_t least = p.count;
  for (int32_t i = 0; i < p.columns; ++i) {
    largest[i] = p.states[i].largest;
    sum[i] = p.states[i].sum;
    seen[i] = p.seen[i];
    if (seen[i] < least) least = seen[i];
  }
  const __m256 scale = _mm256_set1_ps(p.scale);
  for (int32_t i = 0; i < p.columns; i += kHalf) {
    __m256 most = _mm256_loadu_ps(largest + i), total = _mm256_loadu_ps(sum + i);
    const __m256i sees = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(seen + i));
    (least < p.count || i + kHalf > p.columns
         ? softmax_half<true>
         : softmax_half<false>)(p.scores + i, p.count, sees, scale, &most, &total, p.shrink + i);
    _mm256_storeu_ps(largest + i, most);
    _mm256_storeu_ps(sum + i, total);
  }
  for (int32_t i = 0; i < p.columns; ++i) p.states[i] = {largest[i], sum[i]};
}

// Eight rows of eight become eight columns.
void transpose(const float* const* rows, int32_t k, float* out) {
  __m256 r[8], pairs[8], fours[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(rows[i] + k);
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0x44);
      fours[i + 2 * j + 1] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0xEE);
    }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * kColumns, _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * kColumns,
                     _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31));
  }
}

void strip(const float* x, int64_t stride, int32_t rows, int32_t cols, float* out) {
  for (int32_t i = 0; i < rows; i += kHalf) {
    const float* from[kHalf];
    for (int32_t j = 0; j < kHalf; ++j) from[j] = x + (i + j < rows ? i + j : rows - 1) * stride;
    int32_t k = 0;
    for (; k + kHalf <= cols; k += kHalf) transpose(from, k, out + k * kColumns + i);
    for (; k < cols; ++k)
      for (int32_t j = 0; j < kHalf; ++j) out[k * kColumns + i + j] = from[j][k];
  }
}

constexpr ColumnKernel kKernel = {.product = product, .softmax = softmax, .strip = strip};

}  // namespace

const ColumnKernel* column_kernel_avx2() { return &kKernel; }

}  // namespace fathom

#else

namespace fathom {

const ColumnKernel* column_kernel_avx2() { return nullptr; }

}  // namespace fathom

#endif
