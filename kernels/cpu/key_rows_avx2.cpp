// How does AVX2 add up key rows as they are stored? Four rows of weights at a time: of each 32
// columns become four vectors, e4m3 with the operations of bytes_avx2.cpp, bf16 by a shift and a
// mask. What a group of rows reads next is fetched in the order of memory. z lies in the order in
// which columns fall out of their storage until the end.
#include "kernels/cpu/key_rows.h"

#include "kernels/cpu/bytes.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <cstring>

#include "kernels/cpu/parity_vector.h"

namespace fathom {
namespace {

constexpr int32_t kStep = kBytesStep;
constexpr int kGroup = 4;      // rows of weights
constexpr int32_t kAhead = 8;  // rows of weights that are fetched early
constexpr int64_t kLine = 64;

struct Vectors {
  __m256 v[4];
};

// How 32 stored columns become four vectors, and how those become columns again.
struct E4m3 {
  static constexpr int64_t kBytes = kStep;
  static constexpr float kOut = kBytesOutOfY;
  __m256i even, odd, codes;

  [[gnu::always_inline]] explicit E4m3(const char* at) : codes(load_256(at)) {
    even = _mm256_maddubs_epi16(_mm256_set1_epi16(16), codes);
    odd = _mm256_srai_epi16(codes, 4);
  }
  [[gnu::always_inline]] __m256 vector(int j) const {
    const __m256i half = j < 2 ? even : odd;
    return fields_of(j % 2 ? half : _mm256_slli_epi32(half, 16));
  }
  [[gnu::always_inline]] __m256i largest(__m256i so_far) const {
    return _mm256_max_epu8(so_far, _mm256_or_si256(codes, _mm256_set1_epi8(-128)));
  }
  static Vectors columns(const Vectors& a) {
    const __m256 low = _mm256_unpacklo_ps(a.v[0], a.v[2]),
                 low2 = _mm256_unpacklo_ps(a.v[1], a.v[3]),
                 high = _mm256_unpackhi_ps(a.v[0], a.v[2]),
                 high2 = _mm256_unpackhi_ps(a.v[1], a.v[3]);
    const auto pairs = [](__m256 x, __m256 y, bool upper) {
      const __m256d d = _mm256_castps_pd(x), e = _mm256_castps_pd(y);
      return _mm256_castpd_ps(upper ? _mm256_unpackhi_pd(d, e) : _mm256_unpacklo_pd(d, e));
    };
    const __m256 q0 = pairs(low, low2, false), q1 = pairs(low, low2, true),
                 q2 = pairs(high, high2, false), q3 = pairs(high, high2, true);
    return {{_mm256_permute2f128_ps(q0, q1, 0x20), _mm256_permute2f128_ps(q2, q3, 0x20),
             _mm256_permute2f128_ps(q0, q1, 0x31), _mm256_permute2f128_ps(q2, q3, 0x31)}};
  }
};

struct Bf16 {
  static constexpr int64_t kBytes = 2 * kStep;
  static constexpr float kOut = 1.0f;
  __m256i first, second;

  [[gnu::always_inline]] explicit Bf16(const char* at)
      : first(load_256(at)), second(load_256(at + kStep)) {}
  [[gnu::always_inline]] __m256 vector(int j) const {
    const __m256i half = j < 2 ? first : second;
    return j % 2 ? odd_of(half) : even_of(half);
  }
  [[gnu::always_inline]] __m256i largest(__m256i so_far) const { return so_far; }
  static Vectors columns(const Vectors& a) {
    Vectors out;
    for (int j = 0; j < 4; j += 2) {
      const __m256 low = _mm256_unpacklo_ps(a.v[j], a.v[j + 1]),
                   high = _mm256_unpackhi_ps(a.v[j], a.v[j + 1]);
      out.v[j] = _mm256_permute2f128_ps(low, high, 0x20);
      out.v[j + 1] = _mm256_permute2f128_ps(low, high, 0x31);
    }
    return out;
  }
};

// Runs of columns that share a scale.
int32_t runs_of(const Weight& w) {
  return w.scale ? (w.scale_col + w.cols + kScaleBlock - 1) / kScaleBlock : 1;
}
int32_t run_end(const Weight& w, int32_t run) {  // in steps
  const int32_t end = w.scale ? (run + 1) * kScaleBlock - w.scale_col : w.cols;
  return (end < w.cols ? end : w.cols) / kStep;
}

// Some queries' sums.
struct Sums {
  float* factors;  // [runs][count][R]: q, for e4m3 times the run's scale
  float* z;        // [steps][R][4][8]
};

template <int R>
void prepare(const KeyRows& p, int32_t row, const Sums& sums) {
  std::memset(sums.z, 0, sizeof(float) * R * static_cast<size_t>(p.w.cols));
  float* to = sums.factors;
  for (int32_t run = 0; run < runs_of(p.w); ++run)
    for (int32_t i = 0; i < p.count; ++i, to += R) {
      const float scale = p.w.scale ? scales_at(p.w, p.first + i)[run] * kBytesIntoX : 1.0f;
      for (int r = 0; r < R; ++r) to[r] = p.q[(row + r) * p.q_stride + i] * scale;
    }
}

// G rows of weights from i on; what lies at `fetch` comes near, and so on in steps of `distance`.
template <class Stored, int R, int G>
[[gnu::always_inline]] inline bool group(const KeyRows& p, int32_t i, const Sums& sums,
                                         const char* fetch, int64_t distance) {
  const int64_t stride = p.w.row_stride * (Stored::kBytes / kStep);
  const char* w = static_cast<const char*>(p.w.data) + (p.first + i) * stride;
  float* z = sums.z;
  __m256i largest = _mm256_setzero_si256();
  for (int32_t run = 0, step = 0; run < runs_of(p.w); ++run) {
    const float* factors = sums.factors + (int64_t{run} * p.count + i) * R;
    const int32_t end = run_end(p.w, run);
#pragma GCC unroll 1
    for (; step < end; ++step, w += Stored::kBytes, z += R * kStep, fetch += distance * G) {
      __m256 acc[R][4];
#pragma GCC unroll 3
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) acc[r][j] = _mm256_load_ps(z + (r * 4 + j) * 8);
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const Stored stored(w + g * stride);
        largest = stored.largest(largest);
        if (g * Stored::kBytes % kLine == 0) _mm_prefetch(fetch + g * distance, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const __m256 v = stored.vector(j);
#pragma GCC unroll 3
          for (int r = 0; r < R; ++r)
            acc[r][j] = _mm256_fmadd_ps(v, _mm256_broadcast_ss(factors + g * R + r), acc[r][j]);
        }
      }
#pragma GCC unroll 3
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) _mm256_store_ps(z + (r * 4 + j) * 8, acc[r][j]);
    }
  }
  return _mm256_movemask_epi8(_mm256_cmpeq_epi8(largest, _mm256_set1_epi8(-1))) != 0;
}

// Queries [row, row + R).
template <class Stored, int R>
void tile(const KeyRows& p, int32_t row) {
  const Sums sums{p.workspace + int64_t{R} * p.w.cols, p.workspace};
  prepare<R>(p, row, sums);
  const int64_t bytes = p.w.row_stride * (Stored::kBytes / kStep);
  const char* rows = static_cast<const char*>(p.w.data) + p.first * bytes;
  bool nan = false;
  int32_t i = 0;
  for (; i + kGroup <= p.count; i += kGroup) {
    // Only rows that come one behind the other are read in the order of memory.
    const bool more = row == 0 && i + kAhead + kGroup <= p.count && p.w.row_stride == p.w.cols;
    nan |= group<Stored, R, kGroup>(p, i, sums, more ? rows + (i + kAhead) * bytes : rows,
                                    more ? Stored::kBytes : 0);
  }
  for (; i < p.count; ++i) nan |= group<Stored, R, 1>(p, i, sums, rows, 0);
  const __m256 factor = _mm256_set1_ps(nan ? __builtin_nanf("") : Stored::kOut);
  for (int32_t s = 0; s < p.w.cols / kStep; ++s)
    for (int r = 0; r < R; ++r) {
      Vectors v;
      for (int j = 0; j < 4; ++j)
        v.v[j] = _mm256_load_ps(sums.z + ((int64_t{s} * R + r) * 4 + j) * 8);
      const Vectors columns = Stored::columns(v);
      for (int j = 0; j < 4; ++j)
        _mm256_storeu_ps(p.z + (row + r) * p.z_stride + s * kStep + j * 8,
                         _mm256_mul_ps(columns.v[j], factor));
    }
}

template <class Stored>
void all_rows(const KeyRows& p) {
  const int32_t tiles = (p.rows + kKeyRowsTile - 1) / kKeyRowsTile;
  for (int32_t t = 0, row = 0; t < tiles; ++t) {
    const auto end = static_cast<int32_t>(int64_t{p.rows} * (t + 1) / tiles);
    if (end - row == 1) tile<Stored, 1>(p, row);
    if (end - row == 2) tile<Stored, 2>(p, row);
    if (end - row == 3) tile<Stored, 3>(p, row);
    row = end;
  }
}

}  // namespace

bool key_rows_fit(const Weight& w, int32_t first, int32_t count) {
  if (w.cols % kStep != 0) return false;
  if (w.dtype != DType::f8_e4m3) return w.dtype == DType::bf16;
  for (int32_t row = first; row < first + count;
       row += kScaleBlock - (row + w.scale_row) % kScaleBlock)
    if (!bytes_fit(w, row)) return false;
  return true;
}

void multiply_key_rows(const KeyRows& p) {
  p.w.dtype == DType::f8_e4m3 ? all_rows<E4m3>(p) : all_rows<Bf16>(p);
}

}  // namespace fathom

#else

namespace fathom {

bool key_rows_fit(const Weight&, int32_t, int32_t) { return false; }
void multiply_key_rows(const KeyRows&) {}

}  // namespace fathom

#endif
