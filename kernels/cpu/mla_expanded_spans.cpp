// How do the rows of a prompt attend with matrix tiles? Per (sequence, head), span by span of 256
// positions in ascending order: the span's latents become keys and values once, as bf16, and all
// query rows of the chunk pass over them in blocks of 16, each with a running softmax. Spans stand
// at absolute positions, and a row is a column of its own in every product, so its bits do not
// depend on where the prompt was cut. Memory grows with the rows of the chunk, not with the
// context.
#include <limits>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/span_rows.h"

namespace fathom::cpu {
namespace {

struct Sizes {
  int32_t rank_tiles, key_tiles, value_tiles;   // of 32 ranks, 16 keys, 16 values
  int32_t depth_tiles;                          // of a key with its rope part, 32 each
  int32_t width;                                // of sums
  int64_t weight_size, query_size, state_size;  // of a head; of a block of 16 rows
};

struct Expanded {
  const Inner& inner;
  const SpanKernel& kernel;
  const OpContext& ctx;
  const MlaParams& p;
  Sizes size;
  const uint16_t* weights;  // [heads] packed rows of kv_b
};

struct Lane {         // workspace
  uint16_t* copy;     // of the span's latents
  uint16_t* keys;     // rows
  uint16_t* values;   // packed
  uint16_t* queries;  // [blocks] packed
  float* states;      // [blocks]
  float* more;        // of kSpanBlocks blocks and one span
};

Sizes sizes_of(const MlaParams& p) {
  Sizes s{.rank_tiles = (p.cache.rank + 31) / 32,
          .key_tiles = (p.nope + 15) / 16,
          .value_tiles = (p.value + 15) / 16,
          .depth_tiles = (p.nope + p.cache.rope + 31) / 32,
          .width = (p.value + 15) / 16 * 16,
          .weight_size = 0,
          .query_size = 0,
          .state_size = 0};
  s.weight_size = int64_t{s.key_tiles + s.value_tiles} * s.rank_tiles * 512;
  s.query_size = int64_t{s.depth_tiles} * 512;
  s.state_size = 32 + int64_t{kSpanQueries} * s.width;
  return s;
}

BlockState state_at(const Sizes& s, float* at) {
  return {.largest = at, .sum = at + 16, .sums = at + 32, .width = s.width};
}

// Sixteen rows of kv_b at a time, keys' and values' apart, each filled up with zeros.
const uint16_t* packed_weights(const Expanded& e, int lanes, Workspace& workspace) {
  const MlaParams& p = e.p;
  const Sizes& s = e.size;
  auto* packed = workspace.take<uint16_t>(p.heads * s.weight_size);
  const int64_t rows_size = int64_t{16} * p.cache.rank;
  float* rows = workspace.take<float>(rows_size * lanes);
  const int32_t tiles = s.key_tiles + s.value_tiles;
  share(e.ctx, lanes, p.heads * tiles, [&](int lane, int i) {
    const int32_t head = i / tiles, tile = i % tiles;
    const bool is_key = tile < s.key_tiles;
    const int32_t at = (is_key ? tile : tile - s.key_tiles) * 16;
    const int32_t count = std::min(16, (is_key ? p.nope : p.value) - at);
    const int32_t first = head * (p.nope + p.value) + (is_key ? 0 : p.nope) + at;
    float* wide = rows + lane * rows_size;
    for (int32_t r = 0; r < count; ++r)
      e.inner.widen(p.kv_b, first + r, true, wide + int64_t{r} * p.cache.rank);
    e.kernel.pack_rows(wide, p.cache.rank, count, p.cache.rank,
                       packed + head * s.weight_size + int64_t{tile} * s.rank_tiles * 512);
  });
  return packed;
}

// The latents of a span side by side in L2. Tiles that are loaded from memory row by row find no
// prefetcher (3 GB/s); a copy reads it at full speed and costs a fifth of that.
SpanRows latents_of(const Expanded& e, const AttentionSequence& s, int32_t first, int32_t count,
                    const Lane& lane) {
  SpanRows rows = span_rows(e.inner, paged_rows(e.p.cache), s.blocks, first, count, lane.copy);
  const int64_t size = kGroup * rows.stride;
  for (int32_t g = 0; g < kSpanGroups; ++g) {
    uint16_t* to = lane.copy + std::min(g, (count - 1) / kGroup) * size;
    if (g * kGroup < count && rows.groups[g] != to) std::copy_n(rows.groups[g], size, to);
    rows.groups[g] = to;
  }
  return rows;
}

// Keys and values of a span; the rope part of a key is the same for all heads.
SpanRows expand(const Expanded& e, const AttentionSequence& s, int32_t head, int32_t first,
                int32_t count, const Lane& lane) {
  const MlaParams& p = e.p;
  const SpanRows latents = latents_of(e, s, first, count, lane);
  const int64_t stride = int64_t{e.size.depth_tiles} * 32;
  e.kernel.expand({.latents = latents,
                   .depth_tiles = e.size.rank_tiles,
                   .weights = e.weights + head * e.size.weight_size,
                   .key_tiles = e.size.key_tiles,
                   .value_tiles = e.size.value_tiles,
                   .keys = lane.keys,
                   .key_stride = stride,
                   .values = lane.values});
  SpanRows keys{.groups = {}, .stride = stride, .count = count};
  for (int32_t g = 0; g < kSpanGroups; ++g) keys.groups[g] = lane.keys + g * kGroup * stride;
  for (int32_t t = 0; t < count; ++t) {
    uint16_t* key = lane.keys + t * stride;
    std::copy_n(latents.groups[t / kGroup] + t % kGroup * latents.stride + p.cache.rank,
                p.cache.rope, key + p.nope);
    std::fill(key + p.nope + p.cache.rope, key + stride, uint16_t{0});
  }
  return keys;
}

// Blocks of rows [begin, end), kSpanBlocks at most, over the span that begins at `first`.
void attend_blocks(const Expanded& e, const AttentionSequence& s, int32_t begin, int32_t end,
                   int32_t first, const SpanRows& keys, const Lane& lane) {
  int32_t seen[kSpanBlocks][kSpanQueries];
  SpanAttendParams params[kSpanBlocks];
  for (int32_t b = begin; b < end; ++b) {
    int32_t* sees = seen[b - begin];
    for (int32_t i = 0; i < kSpanQueries; ++i) {
      const int32_t row = std::min(b * kSpanQueries + i, s.rows - 1);
      sees[i] = std::clamp(s.position + row + 1 - first, 0, keys.count);
    }
    float* to = first == 0 ? lane.states + b * e.size.state_size
                           : lane.more + (b - begin) * e.size.state_size;
    params[b - begin] = {.queries = lane.queries + b * e.size.query_size,
                         .depth_tiles = e.size.depth_tiles,
                         .keys = keys,
                         .values = lane.values,
                         .seen = sees,
                         .scale = e.p.scale,
                         .out = state_at(e.size, to)};
    params[b - begin].keys.count = sees[kSpanQueries - 1];
  }
  e.kernel.attend(params, end - begin);
  for (int32_t b = begin; first > 0 && b < end; ++b)
    e.kernel.merge(state_at(e.size, lane.states + b * e.size.state_size), params[b - begin].out);
}

void attend_head(const Expanded& e, const AttentionSequence& s, int32_t head, const Lane& lane) {
  const MlaParams& p = e.p;
  const int32_t key = p.nope + p.cache.rope, end = s.position + s.rows;
  const int32_t blocks = (s.rows + kSpanQueries - 1) / kSpanQueries;
  for (int32_t b = 0; b < blocks; ++b)
    e.kernel.pack_rows(p.q + (s.first_row + b * kSpanQueries) * p.q_stride + int64_t{head} * key,
                       p.q_stride, std::min(kSpanQueries, s.rows - b * kSpanQueries), key,
                       lane.queries + b * e.size.query_size);
  for (int32_t first = 0; first < end; first += kSpan) {
    const SpanRows keys = expand(e, s, head, first, std::min(kSpan, end - first), lane);
    for (int32_t b = std::max(0, first - s.position) / kSpanQueries; b < blocks; b += kSpanBlocks)
      attend_blocks(e, s, b, std::min(b + kSpanBlocks, blocks), first, keys, lane);
  }
  for (int32_t r = 0; r < s.rows; ++r) {
    const BlockState state = state_at(e.size, lane.states + r / kSpanQueries * e.size.state_size);
    float* out =
        floats(p.out, p.out_dtype) + (s.first_row + r) * p.out_stride + int64_t{head} * p.value;
    std::copy_n(state.sums + r % kSpanQueries * int64_t{e.size.width}, p.value, out);
    e.inner.multiply(out, 1.0f / state.sum[r % kSpanQueries], p.value);
  }
}

}  // namespace

void expanded_by_spans(const Inner& inner, const OpContext& ctx, const MlaParams& p, int32_t rows,
                       int lanes) {
  Workspace workspace(ctx);
  Expanded e{.inner = inner,
             .kernel = *inner.spans,
             .ctx = ctx,
             .p = p,
             .size = sizes_of(p),
             .weights = nullptr};
  const Sizes& s = e.size;
  e.weights = packed_weights(e, lanes, workspace);
  const int64_t blocks = (rows + kSpanQueries - 1) / kSpanQueries;
  auto* spaces = workspace.take<Lane>(lanes);
  for (int i = 0; i < lanes; ++i)
    spaces[i] = {.copy = workspace.take<uint16_t>(span_copy_size(p.cache.rank + p.cache.rope)),
                 .keys = workspace.take<uint16_t>(kSpan * int64_t{s.depth_tiles} * 32),
                 .values = workspace.take<uint16_t>(kSpan * int64_t{s.width}),
                 .queries = workspace.take<uint16_t>(blocks * s.query_size),
                 .states = workspace.take<float>(blocks * s.state_size),
                 .more = workspace.take<float>(kSpanBlocks * s.state_size)};
  share(ctx, lanes, static_cast<int>(p.sequences.size()) * p.heads, [&](int lane, int job) {
    const AttentionSequence& sequence = p.sequences[static_cast<size_t>(job / p.heads)];
    if (sequence.rows > 0) attend_head(e, sequence, job % p.heads, spaces[lane]);
  });
}

}  // namespace fathom::cpu
