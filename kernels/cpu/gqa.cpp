// How does a group of query heads attend to the keys and values they share? Per (sequence,
// key-value head, block of query rows): a tile of keys and values is widened once for all queries
// of the block, spans of tiles are closed and merged in ascending order. Tiles and spans stand at
// absolute positions and a query's chain never touches another's, so neither the cut of a prompt
// nor the batch nor the lanes show in the bits.
#include <limits>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/column_attend.h"

namespace fathom::cpu {
namespace {

// Queries of one block: enough to repay widening a tile (5 % of the products), few enough to keep
// their sums in L2 and to give every lane something to do. As columns they are multiplied faster,
// so widening a tile needs more of them.
constexpr int32_t kQueries = 64, kQueriesAsColumns = 128;

struct Grouped {
  const Inner& inner;
  const OpContext& ctx;
  const GqaParams& p;
  int32_t group;       // query heads of one key-value head
  int32_t block_rows;  // at most kQueries / group
  int32_t queries;     // of a full block
  bool columns;        // queries are columns (column_kernel.h)
  int64_t row;         // floats between positions of a tile
};

// Some rows of one sequence with one key-value head, over one span or (span < 0) all of them.
struct Block {
  int32_t sequence, kv_head, row, rows, span;
};

struct Tile {             // workspace of one lane
  float* queries;         // [queries, dim]
  float* strips;          // of 16 queries each, where they are columns
  float* keys;            // [kTile, row]
  float* values;          // [kTile, row]
  float* scores;          // [queries, kTile]
  float* panel;           // of dots
  float* sums;            // [queries, dim], of the blocks's spans so far
  float* more;            // [queries, dim], of one span
  SoftmaxState* states;   // [queries]
  SoftmaxState* of_span;  // [queries]
};

const AttentionSequence& sequence_of(const Grouped& a, const Block& b) {
  return a.p.sequences[static_cast<size_t>(b.sequence)];
}
int32_t end_of(const Grouped& a, const Block& b) {
  return sequence_of(a, b).position + b.row + b.rows;
}

void gather_queries(const Grouped& a, const Block& b, const Tile& tile) {
  const int32_t dim = a.p.cache.dim, queries = b.rows * a.group;
  const int64_t wide = int64_t{a.group} * dim;
  for (int32_t r = 0; r < b.rows; ++r)
    std::copy_n(a.p.q + (sequence_of(a, b).first_row + b.row + r) * a.p.q_stride + b.kv_head * wide,
                wide, tile.queries + r * wide);
  for (int32_t q = 0; a.columns && q < queries; q += kColumns)
    a.inner.columns->strip(tile.queries + int64_t{q} * dim, dim, std::min(kColumns, queries - q),
                           dim, tile.strips + int64_t{q} * dim);
}

void gather_tile(const Grouped& a, const Block& b, int32_t first, int32_t count, const Tile& tile) {
  const KvCache& cache = a.p.cache;
  const AttentionSequence& s = sequence_of(a, b);
  const int64_t all = int64_t{cache.heads} * cache.dim,
                head = int64_t{a.p.first_kv_head + b.kv_head} * cache.dim;
  Weight view{
      .dtype = cache.dtype, .rows = cache.block_tokens, .cols = cache.dim, .row_stride = 2 * all};
  for (int32_t i = 0; i < count; ++i) {
    const int32_t position = first + i;
    const int64_t block = s.blocks[static_cast<size_t>(position / cache.block_tokens)];
    const auto* key = static_cast<const char*>(cache.base) +
                      (block * cache.block_stride + head) * dtype_bytes(cache.dtype);
    view.data = key;
    a.inner.widen(view, position % cache.block_tokens, false, tile.keys + i * a.row);
    view.data = key + all * dtype_bytes(cache.dtype);
    a.inner.widen(view, position % cache.block_tokens, false, tile.values + i * a.row);
  }
}

// Keys of positions from `first` on, as many of the next tile as one block holds; values lie
// `values` bytes behind them.
ColumnFetch fetch_of(const Grouped& a, const Block& b, int32_t first) {
  const KvCache& cache = a.p.cache;
  const int32_t count = std::min(kTile, end_of(a, b) - first), at = first % cache.block_tokens;
  if (count <= 0) return {};
  const int64_t bytes = dtype_bytes(cache.dtype), width = int64_t{2} * cache.heads * cache.dim,
                block = sequence_of(a, b).blocks[static_cast<size_t>(first / cache.block_tokens)];
  return {.data = static_cast<const char*>(cache.base) +
                  (block * cache.block_stride + at * width +
                   int64_t{a.p.first_kv_head + b.kv_head} * cache.dim) *
                      bytes,
          .rows = std::min(count, cache.block_tokens - at),
          .bytes = cache.dim * bytes,
          .stride = width * bytes};
}

// Positions [first, first + count) for the block's queries, sixteen at a time.
void attend_tile_columns(const Grouped& a, const Block& b, int32_t first, int32_t count,
                         const Tile& tile, float* sums, SoftmaxState* states) {
  const int32_t dim = a.p.cache.dim, position = sequence_of(a, b).position + b.row,
                queries = b.rows * a.group;
  ColumnFetch keys = fetch_of(a, b, first + count), values = keys;
  if (values.data) values.data += int64_t{a.p.cache.heads} * keys.bytes;
  for (int32_t q = 0; q < queries; q += kColumns) {
    const int32_t columns = std::min(kColumns, queries - q);
    int32_t seen[kColumns];
    for (int32_t i = 0; i < columns; ++i)
      seen[i] = std::clamp(position + (q + i) / a.group + 1 - first, 0, count);
    if (seen[columns - 1] == 0) continue;
    attend_columns(*a.inner.columns,
                   {.keys = tile.keys,
                    .key_row = a.row,
                    .key = dim,
                    .values = tile.values,
                    .value_step = a.row,
                    .value_strip = kColumns,
                    .value = dim},
                   {.strip = tile.strips + int64_t{q} * dim,
                    .count = columns,
                    .seen = seen,
                    .scale = a.p.scale,
                    .states = states + q,
                    .sums = sums + int64_t{q} * dim,
                    .sums_row = dim,
                    .fresh = false},
                   tile.scores, keys, values);
    keys = values = {};
  }
}

// Positions [first, first + count) for the block's rows that see some of them: all from `from` on.
void attend_tile(const Grouped& a, const Block& b, int32_t first, int32_t count, const Tile& tile,
                 float* sums, SoftmaxState* states) {
  const int32_t dim = a.p.cache.dim, position = sequence_of(a, b).position + b.row;
  const int32_t from = std::max(0, first - position), begin = from * a.group,
                queries = b.rows * a.group - begin;
  float* scores = tile.scores + int64_t{begin} * kTile;
  a.inner.dots({.x = {tile.queries + int64_t{begin} * dim, dim, queries, false},
                .w = panel_weight(tile.keys, count, dim),
                .outs = count,
                .y = scores,
                .y_stride = kTile,
                .panel = tile.panel});
  for (int32_t q = begin; q < begin + queries; ++q) {
    float* row = tile.scores + int64_t{q} * kTile;
    const int32_t seen = std::min(count, position + q / a.group + 1 - first);
    const float shrink = a.inner.softmax_tile(row, seen, a.p.scale, &states[q]);
    if (shrink != 1.0f) a.inner.multiply(sums + int64_t{q} * dim, shrink, dim);
    std::fill(row + seen, row + count, 0.0f);
  }
  a.inner.combine({.p = scores,
                   .p_stride = kTile,
                   .rows = queries,
                   .c = tile.values,
                   .c_stride = dim,
                   .depth = count,
                   .width = dim,
                   .z = sums + int64_t{begin} * dim,
                   .z_stride = dim});
}

// sums and states of one span; the sums are not yet divided by the states' sums.
void attend_span(const Grouped& a, const Block& b, int32_t span, const Tile& tile, float* sums,
                 SoftmaxState* states) {
  const int32_t queries = b.rows * a.group, end = std::min(end_of(a, b), (span + 1) * kSpan);
  std::fill_n(sums, int64_t{queries} * a.p.cache.dim, 0.0f);
  std::fill_n(states, queries, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (int32_t first = span * kSpan; first < end; first += kTile) {
    const int32_t count = std::min(kTile, end - first);
    gather_tile(a, b, first, count, tile);
    if (a.columns)
      attend_tile_columns(a, b, first, count, tile, sums, states);
    else
      attend_tile(a, b, first, count, tile, sums, states);
  }
}

void finish(const Grouped& a, const Block& b, float* sums, const SoftmaxState* states) {
  divide_sums(a.inner, b.rows * a.group, a.p.cache.dim, sums, states);
  const int64_t wide = int64_t{a.group} * a.p.cache.dim;
  for (int32_t r = 0; r < b.rows; ++r)
    std::copy_n(sums + r * wide, wide,
                floats(a.p.out, a.p.out_dtype) +
                    (sequence_of(a, b).first_row + b.row + r) * a.p.out_stride + b.kv_head * wide);
}

void attend_all(const Grouped& a, const Block& b, const Tile& tile) {
  gather_queries(a, b, tile);
  attend_span(a, b, 0, tile, tile.sums, tile.states);
  for (int32_t span = 1; span * kSpan < end_of(a, b); ++span) {
    attend_span(a, b, span, tile, tile.more, tile.of_span);
    merge_span(a.inner, b.rows * a.group, a.p.cache.dim, tile.sums, tile.states, tile.more,
               tile.of_span);
  }
  finish(a, b, tile.sums, tile.states);
}

// Every block; `by_span` every span of them, which stand together in ascending order.
std::span<Block> blocks_of(const Grouped& a, bool by_span, Workspace& workspace) {
  int64_t most = 0;
  for (const AttentionSequence& s : a.p.sequences)
    most += int64_t{a.p.kv_heads} * ((s.rows + a.block_rows - 1) / a.block_rows) *
            (by_span ? (s.position + s.rows + kSpan - 1) / kSpan : 1);
  auto* blocks = workspace.take<Block>(most);
  size_t n = 0;
  for (size_t i = 0; i < a.p.sequences.size(); ++i)
    for (int32_t head = 0; head < a.p.kv_heads; ++head)
      for (int32_t row = 0; row < a.p.sequences[i].rows; row += a.block_rows) {
        Block b{static_cast<int32_t>(i), head, row,
                std::min(a.block_rows, a.p.sequences[i].rows - row), 0};
        const int32_t spans = by_span ? (end_of(a, b) + kSpan - 1) / kSpan : 1;
        for (; b.span < spans; ++b.span) blocks[n++] = b;
      }
  return {blocks, n};
}

void attend_by_span(const Grouped& a, std::span<const Block> blocks, const Tile* tiles, int lanes,
                    Workspace& workspace) {
  const int64_t size = int64_t{a.queries} * a.p.cache.dim;
  float* sums = workspace.take<float>(size * static_cast<int64_t>(blocks.size()));
  auto* states = workspace.take<SoftmaxState>(a.queries * static_cast<int64_t>(blocks.size()));
  share(a.ctx, lanes, static_cast<int>(blocks.size()), [&](int lane, int i) {
    const Block& b = blocks[static_cast<size_t>(i)];
    gather_queries(a, b, tiles[lane]);
    attend_span(a, b, b.span, tiles[lane], sums + i * size, states + int64_t{i} * a.queries);
  });
  for (size_t i = 0; i < blocks.size();) {
    const size_t first = i;
    float* sum = sums + static_cast<int64_t>(first) * size;
    SoftmaxState* state = states + static_cast<int64_t>(first) * a.queries;
    for (++i; i < blocks.size() && blocks[i].span > 0; ++i)
      merge_span(a.inner, blocks[first].rows * a.group, a.p.cache.dim, sum, state,
                 sums + static_cast<int64_t>(i) * size,
                 states + static_cast<int64_t>(i) * a.queries);
    finish(a, blocks[first], sum, state);
  }
}

Tile tile_of(const Grouped& a, Workspace& workspace) {
  const int32_t dim = a.p.cache.dim;
  const int64_t sums = int64_t{a.queries} * dim;
  return {.queries = workspace.take<float>(sums),
          .strips = a.columns ? workspace.take<float>((a.queries + kColumns - 1) / kColumns *
                                                      int64_t{kColumns} * dim)
                              : nullptr,
          .keys = workspace.take<float>(kTile * a.row),
          .values = workspace.take<float>(kTile * a.row),
          .scores = workspace.take<float>(std::max<int64_t>(a.queries, kColumns) * kTile),
          .panel = workspace.take<float>(panel_floats(dim)),
          .sums = workspace.take<float>(sums),
          .more = workspace.take<float>(sums),
          .states = workspace.take<SoftmaxState>(a.queries),
          .of_span = workspace.take<SoftmaxState>(a.queries)};
}

}  // namespace

void gqa(const Inner& inner, const OpContext& ctx, const GqaParams& p) {
  Workspace workspace(ctx);
  const bool columns = inner.columns && p.cache.dim % 8 == 0;
  const int32_t group = p.heads / p.kv_heads,
                block_rows = std::max(1, (columns ? kQueriesAsColumns : kQueries) / group);
  const Grouped a{inner,      ctx,
                  p,          group,
                  block_rows, block_rows * group,
                  columns,    columns ? odd_lines(p.cache.dim) : p.cache.dim};
  int64_t work = 0;
  for (const AttentionSequence& s : p.sequences)
    work += int64_t{s.rows} * p.heads * p.cache.dim * 2 * (s.position + s.rows);
  const std::span<const Block> blocks = blocks_of(a, false, workspace);
  if (blocks.empty()) return;
  const int lanes = lanes_for(ctx, work / kInlineWork + 1, work);
  if (ctx.compute == Compute::bfloat16 && inner.spans) return gqa_by_spans(inner, ctx, p, lanes);
  auto* tiles = workspace.take<Tile>(lanes);
  for (int i = 0; i < lanes; ++i) tiles[i] = tile_of(a, workspace);
  if (lanes > 1 && blocks.size() < 4 * static_cast<size_t>(lanes))
    return attend_by_span(a, blocks_of(a, true, workspace), tiles, lanes, workspace);
  share(ctx, lanes, static_cast<int>(blocks.size()),
        [&](int lane, int i) { attend_all(a, blocks[static_cast<size_t>(i)], tiles[lane]); });
}

}  // namespace fathom::cpu
