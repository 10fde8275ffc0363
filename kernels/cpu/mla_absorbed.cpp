// How does a decode row attend? In latent space: the query is taken through W_UK once, then every
// head of a group reads the same latents. Three passes: queries into latent space (per head),
// scores and sums (per row and head group, tile by tile in ascending order), and out through W_UV
// (per head). Scores, softmax and sums of latents are float32 under either compute; the two
// products with kv_b follow it.
#include <limits>

#include "kernels/cpu/attention_tiles.h"

namespace fathom::cpu {
namespace {

constexpr int32_t kHeadGroup = 16;

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
  float* sums;  // [kHeadGroup, rank]
};

// Some heads of one row, over one span or all of them.
struct Job {
  int32_t sequence, row, head, heads;
  int32_t span;
};

int32_t limit_of(const Absorbed& a, const Job& job) {
  return a.p.sequences[static_cast<size_t>(job.sequence)].position + job.row + 1;
}
int64_t place_of(const Absorbed& a, const Job& job) {
  return int64_t{a.p.sequences[static_cast<size_t>(job.sequence)].first_row + job.row} * a.p.heads +
         job.head;
}

// sums [heads, rank] and states of one span; the sums are not yet divided by the states' sums.
void attend_span(const Absorbed& a, const Job& job, int32_t span, const Tile& tile, float* sums,
                 SoftmaxState* states) {
  const int32_t end = std::min(limit_of(a, job), (span + 1) * kSpan), rank = a.p.cache.rank;
  const AttentionSequence& s = a.p.sequences[static_cast<size_t>(job.sequence)];
  std::fill_n(sums, int64_t{job.heads} * rank, 0.0f);
  std::fill_n(states, job.heads, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  for (int32_t first = span * kSpan; first < end; first += kTile) {
    const int32_t count = std::min(kTile, end - first);
    gather_tile(a.inner, a.p.cache, s.blocks, first, count, tile.latents);
    a.inner.dots({.x = {a.queries + place_of(a, job) * a.width, a.width, job.heads, false},
                  .w = panel_weight(tile.latents, count, a.width),
                  .outs = count,
                  .y = tile.scores,
                  .y_stride = kTile,
                  .panel = tile.panel});
    for (int32_t i = 0; i < job.heads; ++i) {
      const float shrink =
          a.inner.softmax_tile(tile.scores + i * kTile, count, a.p.scale, &states[i]);
      if (shrink != 1.0f) a.inner.multiply(sums + int64_t{i} * rank, shrink, rank);
    }
    a.inner.combine({.p = tile.scores,
                     .p_stride = kTile,
                     .rows = job.heads,
                     .c = tile.latents,
                     .c_stride = a.width,
                     .depth = count,
                     .width = rank,
                     .z = sums,
                     .z_stride = rank});
  }
}

void attend_all(const Absorbed& a, const Job& job, const Tile& tile) {
  float* sums = a.sums + place_of(a, job) * a.p.cache.rank;
  SoftmaxState states[kHeadGroup], more[kHeadGroup];
  attend_span(a, job, 0, tile, sums, states);
  for (int32_t span = 1; span * kSpan < limit_of(a, job); ++span) {
    attend_span(a, job, span, tile, tile.sums, more);
    merge_span(a.inner, job.heads, a.p.cache.rank, sums, states, tile.sums, more);
  }
  divide_sums(a.inner, job.heads, a.p.cache.rank, sums, states);
}

// Every (row, head group); when those are too few for the lanes, every span of them is a job of its
// own.
std::span<Job> jobs_of(const Absorbed& a, bool by_span, Workspace& workspace) {
  int64_t most = 0;
  for (const AttentionSequence& s : a.p.sequences)
    most += int64_t{s.rows} * a.p.heads * (by_span ? (s.position + s.rows + kSpan - 1) / kSpan : 1);
  auto* jobs = workspace.take<Job>(most);
  size_t n = 0;
  for (size_t i = 0; i < a.p.sequences.size(); ++i)
    for (int32_t row = 0; row < a.p.sequences[i].rows; ++row)
      for (int32_t head = 0; head < a.p.heads; head += kHeadGroup) {
        Job job{static_cast<int32_t>(i), row, head, std::min(kHeadGroup, a.p.heads - head), 0};
        const int32_t spans = by_span ? (limit_of(a, job) + kSpan - 1) / kSpan : 1;
        for (; job.span < spans; ++job.span) jobs[n++] = job;
      }
  return {jobs, n};
}

void attend_by_span(const Absorbed& a, std::span<const Job> jobs, const Tile* tiles,
                    Workspace& workspace) {
  const int64_t size = int64_t{kHeadGroup} * a.p.cache.rank;
  float* sums = workspace.take<float>(size * static_cast<int64_t>(jobs.size()));
  auto* states = workspace.take<SoftmaxState>(kHeadGroup * static_cast<int64_t>(jobs.size()));
  share(a.ctx, a.lanes, static_cast<int>(jobs.size()), [&](int lane, int i) {
    const Job& job = jobs[static_cast<size_t>(i)];
    attend_span(a, job, job.span, tiles[lane], sums + i * size, states + i * kHeadGroup);
  });
  for (size_t i = 0; i < jobs.size();) {
    const size_t first = i;
    const Job& job = jobs[first];
    SoftmaxState* state = states + first * kHeadGroup;
    float* sum = sums + static_cast<int64_t>(first) * size;
    for (++i; i < jobs.size() && jobs[i].span > 0; ++i)
      merge_span(a.inner, job.heads, a.p.cache.rank, sum, state,
                 sums + static_cast<int64_t>(i) * size, states + i * kHeadGroup);
    divide_sums(a.inner, job.heads, a.p.cache.rank, sum, state);
    std::copy_n(sum, int64_t{job.heads} * a.p.cache.rank,
                a.sums + place_of(a, job) * a.p.cache.rank);
  }
}

void over_the_context(const Absorbed& a, Workspace& workspace) {
  const std::span<const Job> rows = jobs_of(a, false, workspace);
  auto* tiles = workspace.take<Tile>(a.lanes);
  for (int lane = 0; lane < a.lanes; ++lane)
    tiles[lane] = {.latents = workspace.take<float>(int64_t{kTile} * a.width),
                   .scores = workspace.take<float>(kHeadGroup * kTile),
                   .panel = workspace.take<float>(panel_floats(a.width)),
                   .sums = workspace.take<float>(int64_t{kHeadGroup} * a.p.cache.rank)};
  if (a.lanes > 1 && rows.size() < 4 * static_cast<size_t>(a.lanes))
    return attend_by_span(a, jobs_of(a, true, workspace), tiles, workspace);
  share(a.ctx, a.lanes, static_cast<int>(rows.size()),
        [&](int lane, int i) { attend_all(a, rows[static_cast<size_t>(i)], tiles[lane]); });
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
