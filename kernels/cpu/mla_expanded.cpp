// How do the rows of a prompt attend? Per sequence and head, tile by tile: the tile's latents are
// expanded into keys and values with the arithmetic of linear, and all query rows of the chunk use
// them. Tiles begin at absolute positions and are taken in ascending order, so a row's bits do not
// depend on where the prompt was cut. Scores, softmax and sums are float32 under either compute.
#include <limits>

#include "kernels/cpu/attention_tiles.h"

namespace fathom::cpu {
namespace {

struct Tile {       // workspace of one lane
  float* latents;   // [kTile, rank + rope]
  float* prepared;  // the latents as rows for dots
  float* expanded;  // [kTile, nope + value]
  float* keys;      // [kTile, nope + rope]
  float* scores;    // [rows, kTile]
  float* sums;      // [rows, value]
  float* panel;
  SoftmaxState* states;  // [rows]
};

struct Expanded {
  const Inner& inner;
  const OpContext& ctx;
  const MlaParams& p;
};

// Keys and values of positions [first, first + count) for head h.
void expand(const Expanded& e, const AttentionSequence& s, int32_t h, int32_t first, int32_t count,
            const Tile& tile) {
  const MlaParams& p = e.p;
  const int32_t rank = p.cache.rank, rope = p.cache.rope, width = rank + rope,
                pair = p.nope + p.value;
  gather_tile(e.inner, p.cache, s.blocks, first, count, tile.latents, width);
  const Rows rows = prepare_rows(e.inner, OpContext{}, e.ctx.compute, tile.latents, width, count,
                                 rank, tile.prepared);
  e.inner.dots({.x = rows,
                .w = p.kv_b,
                .first = h * pair,
                .outs = pair,
                .round = e.ctx.compute == Compute::bfloat16,
                .y = tile.expanded,
                .y_stride = pair,
                .panel = tile.panel});
  for (int32_t t = 0; t < count; ++t) {
    float* key = tile.keys + int64_t{t} * (p.nope + rope);
    std::copy_n(tile.expanded + int64_t{t} * pair, p.nope, key);
    std::copy_n(tile.latents + int64_t{t} * width + rank, rope, key + p.nope);
  }
}

// Rows [from, s.rows) of the chunk see some of the tile; a row sees the positions up to its own.
void attend_tile(const Expanded& e, const AttentionSequence& s, int32_t h, int32_t first,
                 int32_t count, const Tile& tile) {
  const MlaParams& p = e.p;
  const int32_t from = std::max(0, first - s.position), rows = s.rows - from;
  const int32_t key = p.nope + p.cache.rope;
  float* scores = tile.scores + int64_t{from} * kTile;
  e.inner.dots(
      {.x = {p.q + (s.first_row + from) * p.q_stride + int64_t{h} * key, p.q_stride, rows, false},
       .w = panel_weight(tile.keys, count, key),
       .outs = count,
       .y = scores,
       .y_stride = kTile,
       .panel = tile.panel});
  for (int32_t r = from; r < s.rows; ++r) {
    float* row = tile.scores + int64_t{r} * kTile;
    const int32_t seen = std::min(count, s.position + r + 1 - first);
    const float shrink = e.inner.softmax_tile(row, seen, p.scale, &tile.states[r]);
    if (shrink != 1.0f) e.inner.multiply(tile.sums + int64_t{r} * p.value, shrink, p.value);
    std::fill(row + seen, row + count, 0.0f);
  }
  e.inner.combine({.p = scores,
                   .p_stride = kTile,
                   .rows = rows,
                   .c = tile.expanded + p.nope,
                   .c_stride = p.nope + p.value,
                   .depth = count,
                   .width = p.value,
                   .z = tile.sums + int64_t{from} * p.value,
                   .z_stride = p.value});
}

void attend_head(const Expanded& e, const AttentionSequence& s, int32_t h, const Tile& tile) {
  const int32_t end = s.position + s.rows, value = e.p.value;
  std::fill_n(tile.sums, int64_t{s.rows} * value, 0.0f);
  std::fill_n(tile.states, s.rows, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (int32_t first = 0; first < end; first += kTile) {
    const int32_t count = std::min(kTile, end - first);
    expand(e, s, h, first, count, tile);
    attend_tile(e, s, h, first, count, tile);
  }
  for (int32_t r = 0; r < s.rows; ++r) {
    float* sums = tile.sums + int64_t{r} * value;
    e.inner.multiply(sums, 1.0f / tile.states[r].sum, value);
    std::copy_n(
        sums, value,
        floats(e.p.out, e.p.out_dtype) + (s.first_row + r) * e.p.out_stride + int64_t{h} * value);
  }
}

}  // namespace

void mla_expanded(const Inner& inner, const OpContext& ctx, const MlaParams& p) {
  Workspace workspace(ctx);
  const Expanded e{inner, ctx, p};
  const int32_t rank = p.cache.rank, rope = p.cache.rope, width = rank + rope;
  int64_t rows = 0, work = 0;
  for (const AttentionSequence& s : p.sequences) {
    rows = std::max<int64_t>(rows, s.rows);
    work += int64_t{s.position + s.rows} * p.heads *
            (rank * (p.nope + p.value) + s.rows * (p.nope + rope + p.value));
  }
  if (rows == 0) return;
  const auto jobs = static_cast<int>(p.sequences.size()) * p.heads;
  const int lanes = lanes_for(ctx, jobs, work);
  if (ctx.compute == Compute::bfloat16 && inner.spans)
    return expanded_by_spans(inner, ctx, p, static_cast<int32_t>(rows), lanes);
  if (inner.columns && p.nope % 8 == 0 && p.value % 8 == 0)
    return expanded_by_columns(inner, ctx, p, static_cast<int32_t>(rows), lanes);
  auto* tiles = workspace.take<Tile>(lanes);
  for (int i = 0; i < lanes; ++i)
    tiles[i] = {.latents = workspace.take<float>(int64_t{kTile} * width),
                .prepared = workspace.take<float>(kTile * padded_width(rank)),
                .expanded = workspace.take<float>(int64_t{kTile} * (p.nope + p.value)),
                .keys = workspace.take<float>(int64_t{kTile} * (p.nope + rope)),
                .scores = workspace.take<float>(rows * kTile),
                .sums = workspace.take<float>(rows * p.value),
                .panel = workspace.take<float>(panel_floats(std::max(rank, p.nope + rope))),
                .states = workspace.take<SoftmaxState>(rows)};
  share(ctx, lanes, jobs, [&](int lane, int job) {
    const AttentionSequence& s = p.sequences[static_cast<size_t>(job / p.heads)];
    if (s.rows > 0) attend_head(e, s, job % p.heads, tiles[lane]);
  });
}

}  // namespace fathom::cpu
