// How do the rows of a prompt attend as columns (column_kernel.h)? Per (sequence, head): the head's
// rows of kv_b become strips once, then the latents of four tiles of 64 cached positions are
// expanded into keys and values, and all query rows of the chunk use them in blocks of sixteen: a
// block's queries and sums, 20 KB, are fetched once for the four, which themselves stay in L2.
// Tiles begin at absolute positions and are taken in ascending order, and a row is a lane of its
// own, so its bits do not depend on where the prompt was cut. Expansion follows the context's
// compute; scores, softmax and sums are float32 under either.
#include <limits>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/column_attend.h"
#include "kernels/cpu/convert.h"

namespace fathom::cpu {
namespace {

constexpr int kTilesAtOnce = 4;  // 213 KB of keys and 131 KB of values for V3's heads

struct Sizes {
  int32_t width;         // of a cached row
  int64_t latent_row;    // an odd number of cache lines, as all rows that are walked down
  int64_t key, key_row;  // of a query; of an expanded key
  int64_t value_strip;   // of 16 values
  int64_t queries;       // strip of a block
};

struct Expanded {
  const Inner& inner;
  const ColumnKernel& kernel;
  const OpContext& ctx;
  const MlaParams& p;
  Sizes size;
};

struct Lane {            // workspace
  float* rows;           // [kColumns, rank] of kv_b
  float* weights;        // strips of [rank, kColumns], keys' and values'
  float* latents;        // [kTile, latent_row]
  float* keys;           // [kTilesAtOnce, kTile, key_row]
  float* values;         // [kTilesAtOnce], strips of [kTile, kColumns]
  float* queries;        // [blocks] strips of [key, kColumns]
  float* scores;         // [kTile, kColumns]
  float* sums;           // [rows, value]
  SoftmaxState* states;  // [rows]
};

struct Positions {  // [first, first + count), and their keys and values
  int32_t first, count;
  float *keys, *values;
};

int32_t strips_of(int32_t columns) { return (columns + kColumns - 1) / kColumns; }

// kv_b's rows [first, first + count) as strips.
void strips_of_rows(const Expanded& e, int32_t first, int32_t count, const Lane& lane, float* out) {
  const int32_t rank = e.p.cache.rank;
  for (int32_t at = 0; at < count; at += kColumns) {
    const int32_t rows = std::min(kColumns, count - at);
    for (int32_t i = 0; i < rows; ++i)
      e.inner.widen(e.p.kv_b, first + at + i, e.ctx.compute == Compute::bfloat16,
                    lane.rows + int64_t{i} * rank);
    e.kernel.strip(lane.rows, rank, rows, rank, out + int64_t{at} * rank);
  }
}

void gather(const Expanded& e, const AttentionSequence& s, int32_t first, int32_t count,
            const Lane& lane) {
  const LatentCache& cache = e.p.cache;
  gather_tile(e.inner, cache, s.blocks, first, count, lane.latents, e.size.latent_row);
  if (e.ctx.compute == Compute::float32 || cache.dtype == DType::bf16) return;
  for (int32_t t = 0; t < count; ++t) {
    float* latent = lane.latents + t * e.size.latent_row;
    for (int32_t i = 0; i < cache.rank; ++i) latent[i] = widen_bf16(narrow_bf16(latent[i]));
  }
}

void expand(const Expanded& e, const AttentionSequence& s, const Positions& at, const Lane& lane) {
  const MlaParams& p = e.p;
  const int32_t rank = p.cache.rank;
  gather(e, s, at.first, at.count, lane);
  ColumnProduct product{.a = lane.latents,
                        .a_row = e.size.latent_row,
                        .rows = at.count,
                        .depth = rank,
                        .c = lane.weights,
                        .c_strip = int64_t{rank} * kColumns,
                        .columns = p.nope,
                        .z = at.keys,
                        .z_row = e.size.key_row,
                        .z_strip = kColumns};
  e.kernel.product(product);
  product.c += strips_of(p.nope) * product.c_strip;
  product.columns = p.value;
  product.z = at.values;
  product.z_row = kColumns;
  product.z_strip = e.size.value_strip;
  e.kernel.product(product);
  for (int32_t t = 0; t < at.count; ++t)
    std::copy_n(lane.latents + t * e.size.latent_row + rank, p.cache.rope,
                at.keys + t * e.size.key_row + p.nope);
}

// The block of rows that begins at `row`.
void attend_block(const Expanded& e, const AttentionSequence& s, int32_t row, const Positions& at,
                  const Lane& lane) {
  const MlaParams& p = e.p;
  const ColumnTile tile{.keys = at.keys,
                        .key_row = e.size.key_row,
                        .key = static_cast<int32_t>(e.size.key),
                        .values = at.values,
                        .value_step = kColumns,
                        .value_strip = e.size.value_strip,
                        .value = p.value};
  const int32_t rows = std::min(kColumns, s.rows - row);
  int32_t seen[kColumns];
  for (int32_t i = 0; i < rows; ++i)
    seen[i] = std::clamp(s.position + row + i + 1 - at.first, 0, at.count);
  attend_columns(e.kernel, tile,
                 {.strip = lane.queries + row / kColumns * e.size.queries,
                  .count = rows,
                  .seen = seen,
                  .scale = p.scale,
                  .states = lane.states + row,
                  .sums = lane.sums + int64_t{row} * p.value,
                  .sums_row = p.value,
                  .fresh = at.first == 0},
                 lane.scores);
}

// Rows before a tile's first position see nothing of it.
int32_t first_block(const AttentionSequence& s, const Positions& at) {
  return std::max(0, at.first - s.position) / kColumns * kColumns;
}

// Positions from `first` on, as many as are expanded at once.
void attend_tiles(const Expanded& e, const AttentionSequence& s, int32_t first, const Lane& lane) {
  const int32_t end = s.position + s.rows;
  Positions tiles[kTilesAtOnce];
  int count = 0;
  for (; count < kTilesAtOnce && first < end; ++count, first += kTile) {
    Positions& at = tiles[count];
    at = {.first = first,
          .count = std::min(kTile, end - first),
          .keys = lane.keys + count * kTile * e.size.key_row,
          .values = lane.values + count * strips_of(e.p.value) * e.size.value_strip};
    expand(e, s, at, lane);
  }
  for (int32_t row = first_block(s, tiles[0]); row < s.rows; row += kColumns)
    for (int t = 0; t < count && first_block(s, tiles[t]) <= row; ++t)
      attend_block(e, s, row, tiles[t], lane);
}

void attend_head(const Expanded& e, const AttentionSequence& s, int32_t head, const Lane& lane) {
  const MlaParams& p = e.p;
  const int32_t end = s.position + s.rows, first_row = head * (p.nope + p.value);
  strips_of_rows(e, first_row, p.nope, lane, lane.weights);
  strips_of_rows(e, first_row + p.nope, p.value, lane,
                 lane.weights + int64_t{strips_of(p.nope)} * kColumns * p.cache.rank);
  for (int32_t row = 0; row < s.rows; row += kColumns)
    e.kernel.strip(p.q + (s.first_row + row) * p.q_stride + head * e.size.key, p.q_stride,
                   std::min(kColumns, s.rows - row), static_cast<int32_t>(e.size.key),
                   lane.queries + row / kColumns * e.size.queries);
  std::fill_n(lane.states, s.rows, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (int32_t first = 0; first < end; first += kTilesAtOnce * kTile)
    attend_tiles(e, s, first, lane);
  for (int32_t r = 0; r < s.rows; ++r) {
    float* sums = lane.sums + int64_t{r} * p.value;
    e.inner.multiply(sums, 1.0f / lane.states[r].sum, p.value);
    std::copy_n(
        sums, p.value,
        floats(p.out, p.out_dtype) + (s.first_row + r) * p.out_stride + int64_t{head} * p.value);
  }
}

Lane lane_of(const Expanded& e, int64_t rows, Workspace& workspace) {
  const MlaParams& p = e.p;
  const int64_t strips = strips_of(p.nope) + strips_of(p.value);
  return {.rows = workspace.take<float>(int64_t{kColumns} * p.cache.rank),
          .weights = workspace.take<float>(strips * kColumns * p.cache.rank),
          .latents = workspace.take<float>(kTile * e.size.latent_row),
          .keys = workspace.take<float>(kTilesAtOnce * kTile * e.size.key_row),
          .values = workspace.take<float>(kTilesAtOnce * strips_of(p.value) * e.size.value_strip),
          .queries = workspace.take<float>((rows + kColumns - 1) / kColumns * e.size.queries),
          .scores = workspace.take<float>(int64_t{kTile} * kColumns),
          .sums = workspace.take<float>(rows * p.value),
          .states = workspace.take<SoftmaxState>(rows)};
}

}  // namespace

void expanded_by_columns(const Inner& inner, const OpContext& ctx, const MlaParams& p, int32_t rows,
                         int lanes) {
  Workspace workspace(ctx);
  const int32_t width = p.cache.rank + p.cache.rope, key = p.nope + p.cache.rope;
  const Expanded e{.inner = inner,
                   .kernel = *inner.columns,
                   .ctx = ctx,
                   .p = p,
                   .size = {.width = width,
                            .latent_row = odd_lines(width),
                            .key = key,
                            .key_row = odd_lines(key),
                            .value_strip = int64_t{kTile} * kColumns,
                            .queries = int64_t{key} * kColumns}};
  auto* spaces = workspace.take<Lane>(lanes);
  for (int i = 0; i < lanes; ++i) spaces[i] = lane_of(e, rows, workspace);
  share(ctx, lanes, static_cast<int>(p.sequences.size()) * p.heads, [&](int lane, int job) {
    const AttentionSequence& sequence = p.sequences[static_cast<size_t>(job / p.heads)];
    if (sequence.rows > 0) attend_head(e, sequence, job % p.heads, spaces[lane]);
  });
}

}  // namespace fathom::cpu
