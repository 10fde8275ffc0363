// What do all forms of attention share? Tiles of kTile cached positions that begin at multiples of
// kTile, so where a prompt was cut or who else is in the batch never moves a tile's edge; spans of
// tiles, merged in ascending order; and rows of queries that stand together.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/cpu/latent_i8.h"
#include "kernels/cpu/operations.h"

namespace fathom::cpu {

inline constexpr int32_t kTile = 64;

// Floats between rows of at least `width` that are walked down: an odd number of cache lines, which
// all fall on different places of a cache.
constexpr int64_t odd_lines(int32_t width) { return (width + 15) / 16 * 16 | 16; }

// Copies the latents of positions [first, first + count) to out [count, row], of which rank + rope
// count, widened.
inline void gather_tile(const Inner& inner, const LatentCache& cache,
                        std::span<const BlockIndex> blocks, int32_t first, int32_t count,
                        float* out, int64_t row) {
  const int32_t width = cache.rank + cache.rope;
  const int64_t stride = latent_stride(cache.dtype, cache.rank, cache.rope);
  Weight view{
      .dtype = cache.dtype, .rows = cache.block_tokens, .cols = width, .row_stride = stride};
  for (int32_t i = 0; i < count; ++i) {
    const int32_t position = first + i;
    const int64_t block = blocks[static_cast<size_t>(position / cache.block_tokens)];
    view.data = static_cast<const char*>(cache.base) +
                block * cache.block_stride * dtype_bytes(cache.dtype);
    if (cache.dtype == DType::i8)
      widen_latent(static_cast<const uint8_t*>(view.data) + position % cache.block_tokens * stride,
                   cache.rank, cache.rope, out + i * row);
    else
      inner.widen(view, position % cache.block_tokens, false, out + i * row);
  }
}

// A float32 matrix as a weight: the keys of a tile are multiplied like any other rows.
inline Weight panel_weight(const float* data, int32_t rows, int32_t cols) {
  return {.data = data, .dtype = DType::f32, .rows = rows, .cols = cols, .row_stride = cols};
}

// Positions are attended in spans of kSpan (256) that begin at multiples of it, and spans are
// merged in ascending order: so one long context can be shared out to all lanes, and whether it was
// does not show in the bits. Adds a span to what the spans before it gave: `rows` rows of `width`
// sums, not yet divided by the states' sums. A span in which a row saw nothing (largest -inf)
// changes no bit of it.
inline void merge_span(const Inner& inner, int32_t rows, int32_t width, float* sums,
                       SoftmaxState* states, const float* more, const SoftmaxState* more_states) {
  for (int32_t i = 0; i < rows; ++i) {
    const float largest = std::max(states[i].largest, more_states[i].largest);
    const float keep = std::exp(states[i].largest - largest),
                take = std::exp(more_states[i].largest - largest);
    if (keep != 1.0f) inner.multiply(sums + int64_t{i} * width, keep, width);
    inner.axpy(sums + int64_t{i} * width, take, more + int64_t{i} * width, width);
    states[i] = {largest, states[i].sum * keep + more_states[i].sum * take};
  }
}

inline void divide_sums(const Inner& inner, int32_t rows, int32_t width, float* sums,
                        const SoftmaxState* states) {
  for (int32_t i = 0; i < rows; ++i)
    inner.multiply(sums + int64_t{i} * width, 1.0f / states[i].sum, width);
}

// Neighbouring rows of q that belong to some sequence; decode rows of a batch usually form one run.
struct Run {
  int32_t first, count;
};

inline int32_t runs_of(std::span<const AttentionSequence> sequences, Run* runs) {
  int32_t n = 0;
  for (const AttentionSequence& s : sequences) {
    if (s.rows == 0) continue;
    if (n > 0 && runs[n - 1].first + runs[n - 1].count == s.first_row)
      runs[n - 1].count += s.rows;
    else
      runs[n++] = {s.first_row, s.rows};
  }
  return n;
}

// Prompts with matrix tiles, and no sequence of more than `rows` rows.
void expanded_by_spans(const Inner&, const OpContext&, const MlaParams&, int32_t rows, int lanes);
void gqa_by_spans(const Inner&, const OpContext&, const GqaParams&, int lanes);
// The same with queries as columns (inner.columns), where nope and value are multiples of 8.
void expanded_by_columns(const Inner&, const OpContext&, const MlaParams&, int32_t rows, int lanes);

}  // namespace fathom::cpu
