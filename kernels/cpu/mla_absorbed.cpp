// How does a decode row attend? In latent space: the query is taken through W_UK once, then every
// head of a group reads the same latents. Three passes: queries into latent space (per head),
// scores and sums (per row and head group, tile by tile in ascending order), and out through W_UV
// (per head). Scores, softmax and sums of latents are float32 under either compute; the two
// products with kv_b follow it.
#include <limits>

#include "kernels/cpu/attention_tiles.h"

namespace fathom::cpu {
namespace {

constexpr int32_t kHeadGroup = 8;

struct Absorbed {
  const Inner& inner;
  const OpContext& ctx;
  const MlaParams& p;
  std::span<const Run> runs;
  int32_t rows;   // 1 + the last row of q in use
  int32_t width;  // rank + rope
  int lanes;
  float* queries;  // [rows, heads, width]
  float* sums;     // [rows, heads, rank]
};

void queries_of_head(const Absorbed& a, int32_t h, const float* q, int64_t q_stride, float* panel) {
  const MlaParams& p = a.p;
  const int32_t rank = p.cache.rank, rope = p.cache.rope;
  for (int32_t i = 0; i < p.nope; ++i)
    a.inner.widen(p.kv_b, h * (p.nope + p.value) + i, a.ctx.compute == Compute::bfloat16,
                  panel + int64_t{i} * rank);
  for (const Run& run : a.runs) {
    const float* from = q + run.first * q_stride + h * (p.nope + rope);
    float* to = a.queries + (int64_t{run.first} * p.heads + h) * a.width;
    const int64_t to_stride = int64_t{p.heads} * a.width;
    for (int32_t r = 0; r < run.count; ++r) {
      std::fill_n(to + r * to_stride, rank, 0.0f);
      std::copy_n(from + r * q_stride + p.nope, rope, to + r * to_stride + rank);
    }
    a.inner.combine({.p = from,
                     .p_stride = q_stride,
                     .rows = run.count,
                     .c = panel,
                     .c_stride = rank,
                     .depth = p.nope,
                     .width = rank,
                     .z = to,
                     .z_stride = to_stride});
  }
}

void into_latent_space(const Absorbed& a, Workspace& workspace) {
  const MlaParams& p = a.p;
  const int32_t q_width = p.heads * (p.nope + p.cache.rope);
  const float* q = p.q;
  int64_t q_stride = p.q_stride;
  if (a.ctx.compute == Compute::bfloat16) {
    float* rounded = workspace.take<float>(a.rows * padded_width(q_width));
    // Rounded values in float32, whatever the instruction set packs: this product is no dot
    // product.
    for (const Run& run : a.runs)
      prepare_rows(kInnerPortable, a.ctx, Compute::bfloat16, p.q + run.first * p.q_stride,
                   p.q_stride, run.count, q_width, rounded + run.first * padded_width(q_width));
    q = rounded;
    q_stride = padded_width(q_width);
  }
  const int64_t panel = int64_t{p.nope} * p.cache.rank;
  float* panels = workspace.take<float>(panel * a.lanes);
  share(a.ctx, a.lanes, p.heads,
        [&](int lane, int h) { queries_of_head(a, h, q, q_stride, panels + lane * panel); });
}

struct Tile {      // workspace of one lane
  float* latents;  // [kTile, width]
  float* scores;   // [kHeadGroup, kTile]
  float* panel;
};

// Heads [h, h + heads) of one row over all positions below limit.
void attend(const Absorbed& a, const AttentionSequence& s, int32_t row, int32_t h, int32_t heads,
            const Tile& tile) {
  const int32_t limit = s.position + row + 1, rank = a.p.cache.rank;
  const int64_t at = int64_t{s.first_row + row} * a.p.heads + h;
  float* z = a.sums + at * rank;
  std::fill_n(z, int64_t{heads} * rank, 0.0f);
  SoftmaxState state[kHeadGroup];
  std::fill_n(state, heads, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (int32_t first = 0; first < limit; first += kTile) {
    const int32_t count = std::min(kTile, limit - first);
    gather_tile(a.inner, a.p.cache, s.blocks, first, count, tile.latents);
    a.inner.dots({.x = {a.queries + at * a.width, a.width, heads, false},
                  .w = panel_weight(tile.latents, count, a.width),
                  .outs = count,
                  .y = tile.scores,
                  .y_stride = kTile,
                  .panel = tile.panel});
    for (int32_t i = 0; i < heads; ++i) {
      const float shrink =
          a.inner.softmax_tile(tile.scores + i * kTile, count, a.p.scale, &state[i]);
      if (shrink != 1.0f) a.inner.multiply(z + int64_t{i} * rank, shrink, rank);
    }
    a.inner.combine({.p = tile.scores,
                     .p_stride = kTile,
                     .rows = heads,
                     .c = tile.latents,
                     .c_stride = a.width,
                     .depth = count,
                     .width = rank,
                     .z = z,
                     .z_stride = rank});
  }
  for (int32_t i = 0; i < heads; ++i)
    a.inner.multiply(z + int64_t{i} * rank, 1.0f / state[i].sum, rank);
}

struct Job {
  int32_t sequence, row, head;
};

void over_the_context(const Absorbed& a, Workspace& workspace) {
  const int32_t groups = (a.p.heads + kHeadGroup - 1) / kHeadGroup;
  auto* jobs = workspace.take<Job>(int64_t{a.rows} * groups);
  int32_t count = 0;
  for (size_t s = 0; s < a.p.sequences.size(); ++s)
    for (int32_t row = 0; row < a.p.sequences[s].rows; ++row)
      for (int32_t g = 0; g < groups; ++g)
        jobs[count++] = {static_cast<int32_t>(s), row, g * kHeadGroup};
  const int64_t latents = int64_t{kTile} * a.width, scores = kHeadGroup * kTile,
                panel = panel_floats(a.width);
  float* space = workspace.take<float>((latents + scores + panel) * a.lanes);
  share(a.ctx, a.lanes, count, [&](int lane, int i) {
    float* mine = space + lane * (latents + scores + panel);
    const Job& job = jobs[i];
    attend(a, a.p.sequences[static_cast<size_t>(job.sequence)], job.row, job.head,
           std::min(kHeadGroup, a.p.heads - job.head),
           {mine, mine + latents, mine + latents + scores});
  });
}

void out_of_latent_space(const Absorbed& a, Workspace& workspace) {
  const MlaParams& p = a.p;
  const int32_t rank = p.cache.rank;
  float* buffer = a.ctx.compute == Compute::float32
                      ? nullptr
                      : workspace.take<float>(int64_t{a.rows} * p.heads * padded_width(rank));
  const int64_t panel = panel_floats(rank);
  float* panels = workspace.take<float>(panel * a.lanes);
  for (const Run& run : a.runs) {
    const Rows z =
        prepare_rows(a.inner, a.ctx, a.ctx.compute, a.sums + int64_t{run.first} * p.heads * rank,
                     rank, run.count * p.heads, rank, buffer);
    share(a.ctx, a.lanes, p.heads, [&](int lane, int h) {
      const auto* head = static_cast<const char*>(z.data) + h * z.stride * (z.packed ? 2 : 4);
      a.inner.dots({.x = {head, z.stride * p.heads, run.count, z.packed},
                    .w = p.kv_b,
                    .first = h * (p.nope + p.value) + p.nope,
                    .outs = p.value,
                    .round = a.ctx.compute == Compute::bfloat16,
                    .y = p.out + run.first * p.out_stride + int64_t{h} * p.value,
                    .y_stride = p.out_stride,
                    .panel = panels + lane * panel});
    });
  }
}

}  // namespace

void mla_absorbed(const Inner& inner, const OpContext& ctx, const MlaParams& p) {
  Workspace workspace(ctx);
  auto* runs = workspace.take<Run>(static_cast<int64_t>(p.sequences.size()));
  const int32_t run_count = runs_of(p.sequences, runs);
  if (run_count == 0) return;
  Absorbed a{.inner = inner,
             .ctx = ctx,
             .p = p,
             .runs = {runs, static_cast<size_t>(run_count)},
             .rows = 0,
             .width = p.cache.rank + p.cache.rope,
             .lanes = 1,
             .queries = nullptr,
             .sums = nullptr};
  int64_t work = 0;
  for (const AttentionSequence& s : p.sequences) {
    a.rows = std::max(a.rows, s.first_row + s.rows);
    work +=
        int64_t{s.rows} * p.heads * p.cache.rank * (p.nope + p.value + 2 * (s.position + s.rows));
  }
  a.lanes = lanes_for(ctx, std::max(p.heads, a.rows), work);
  a.queries = workspace.take<float>(int64_t{a.rows} * p.heads * a.width);
  a.sums = workspace.take<float>(int64_t{a.rows} * p.heads * p.cache.rank);
  into_latent_space(a, workspace);
  over_the_context(a, workspace);
  out_of_latent_space(a, workspace);
}

}  // namespace fathom::cpu
