// How do decode rows pass kv_b with matrix tiles? Queries into latent space: 16 rows times a head's
// key rows of kv_b, which are interleaved in pairs as a right side once per head and call. Sums out
// of it: like linear (tiles.h), a head's value rows times all rows. Products of bf16 with float32
// sums; an element is one chain over its own row, so the batch does not show in the bits.
#include "kernels/cpu/absorbed.h"
#include "kernels/cpu/span_kernel.h"
#include "kernels/cpu/tiles.h"

namespace fathom::cpu {
namespace {

struct Lane {       // workspace
  uint16_t* copy;   // a head's key rows as bf16, where they are not stored so
  float* wide;      // one of them
  uint16_t* right;  // the same, interleaved
  uint16_t* left;   // 16 rows of queries
  float* product;   // [16, rank], padded
};

// Key rows of a head as bf16, wherever they are.
SpanRows key_rows(const Absorbed& a, int32_t head, const Lane& lane) {
  const Weight& w = a.p.kv_b;
  const int32_t first = head * (a.p.nope + a.p.value);
  SpanRows rows{.groups = {}, .stride = w.row_stride, .count = a.p.nope};
  const auto* base = static_cast<const uint16_t*>(w.data) + first * w.row_stride;
  if (w.dtype != DType::bf16) {
    rows.stride = round_up(w.cols, 32);
    base = lane.copy;
    for (int32_t i = 0; i < a.p.nope; ++i) {
      a.inner.widen(w, first + i, true, lane.wide);
      a.inner.pack(lane.wide, w.cols, w.cols, lane.copy + i * rows.stride);
    }
  }
  for (int32_t g = 0; g * kGroup < a.p.nope; ++g) rows.groups[g] = base + g * kGroup * rows.stride;
  return rows;
}

void queries_of_head(const Absorbed& a, int32_t head, const Lane& lane) {
  const MlaParams& p = a.p;
  const SpanKernel& kernel = *a.inner.spans;
  const int32_t rank = p.cache.rank, rope = p.cache.rope;
  const auto width = static_cast<int32_t>(round_up(rank, 32));
  kernel.pack_values(key_rows(a, head, lane), rank, lane.right);
  for (const Run& run : a.runs)
    for (int32_t r = 0; r < run.count; r += kSpanQueries) {
      const int32_t count = std::min(kSpanQueries, run.count - r);
      const int64_t row = run.first + r;
      const float* q = p.q + row * p.q_stride + int64_t{head} * (p.nope + rope);
      kernel.pack_left(q, p.q_stride, count, p.nope, lane.left);
      kernel.product({.left = lane.left,
                      .right = lane.right,
                      .steps = (p.nope + 31) / 32,
                      .width = width,
                      .out = lane.product});
      for (int32_t i = 0; i < count; ++i) {
        float* to = a.queries + ((row + i) * p.heads + head) * a.width;
        std::copy_n(lane.product + int64_t{i} * width, rank, to);
        std::copy_n(q + i * p.q_stride + p.nope, rope, to + rank);
      }
    }
}

}  // namespace

void into_latent_space_by_tiles(const Absorbed& a, Workspace& workspace) {
  const int64_t rank = round_up(a.p.cache.rank, 32), nope = round_up(a.p.nope, 32);
  auto* lanes = workspace.take<Lane>(a.lanes);
  for (int i = 0; i < a.lanes; ++i)
    lanes[i] = {.copy = workspace.take<uint16_t>(nope * rank),
                .wide = workspace.take<float>(rank),
                .right = workspace.take<uint16_t>(nope * rank),
                .left = workspace.take<uint16_t>(nope * kSpanQueries),
                .product = workspace.take<float>(rank * kSpanQueries)};
  share(a.ctx, a.lanes, a.p.heads,
        [&](int lane, int head) { queries_of_head(a, head, lanes[lane]); });
}

void out_of_latent_space_by_tiles(const Absorbed& a, Workspace& workspace) {
  const MlaParams& p = a.p;
  const Tiles& tiles = *tiles_amx();
  const int32_t rank = p.cache.rank;
  const TileSteps steps = TileSteps::of(p.kv_b);
  const int64_t most = TileTokens::of(steps, a.rows + 1).words();
  auto* packed = workspace.take<uint16_t>(most * a.lanes);
  const int64_t room = tile_workspace(a.rows);
  char* rooms = workspace.take<char>(room * a.lanes);
  share(a.ctx, a.lanes, p.heads, [&](int lane, int head) {
    for (const Run& run : a.runs) {
      const TileTokens x = TileTokens::of(steps, run.count, packed + lane * most);
      for (int32_t t = 0; t < run.count; t += kTileEdge) {
        const float* rows[kTileEdge];
        const int32_t count = std::min(kTileEdge, run.count - t);
        for (int32_t i = 0; i < count; ++i)
          rows[i] = a.sums + (int64_t{run.first + t + i} * p.heads + head) * rank;
        tiles.pack({.rows = rows,
                    .count = count,
                    .width = x.width,
                    .steps = steps,
                    .out = packed + lane * most + t / kTileEdge * x.tile_words()});
      }
      tiles.multiply(
          {.x = x,
           .w = p.kv_b,
           .first = head * (p.nope + p.value) + p.nope,
           .outs = p.value,
           .y = floats(p.out, p.out_dtype) + run.first * p.out_stride + int64_t{head} * p.value,
           .y_stride = p.out_stride,
           .workspace = rooms + lane * room});
    }
  });
}

}  // namespace fathom::cpu
