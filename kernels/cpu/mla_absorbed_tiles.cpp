// How do decode rows attend without matrix tiles, or exactly? Per row and group of 16 heads, tile
// by tile of 64 positions in ascending order; spans of tiles are closed and merged. Scores, softmax
// and sums of latents are float32 under either compute.
#include <limits>

#include "kernels/cpu/absorbed.h"
#include "kernels/cpu/column_attend.h"

namespace fathom::cpu {
namespace {

constexpr int32_t kHeadGroup = 16;

struct Tile {      // workspace of one lane
  float* latents;  // [kTile, latent_row]
  float* scores;   // [kHeadGroup, kTile]
  float* panel;    // of dots; with columns the queries' strip
  float* sums;     // [kHeadGroup, rank]
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

bool by_columns(const Absorbed& a) { return a.inner.columns && a.p.cache.rank % 8 == 0; }
int64_t latent_row(const Absorbed& a) { return by_columns(a) ? odd_lines(a.width) : a.width; }

// Where positions from `first` on lie, as many of `count` as one block holds and half a tile at
// most, since both products of the tile before fetch; takes them off.
ColumnFetch fetch_of(const LatentCache& cache, std::span<const BlockIndex> blocks, int32_t* first,
                     int32_t* count) {
  if (*count <= 0) return {};
  const int64_t row = latent_stride(cache.dtype, cache.rank, cache.rope) * dtype_bytes(cache.dtype);
  const int32_t at = *first % cache.block_tokens,
                n = std::min({*count, cache.block_tokens - at, kTile / 2});
  const int64_t block = blocks[static_cast<size_t>(*first / cache.block_tokens)];
  *first += n;
  *count -= n;
  return {.data = static_cast<const char*>(cache.base) +
                  block * cache.block_stride * dtype_bytes(cache.dtype) + at * row,
          .rows = n,
          .bytes = row,
          .stride = row};
}

// All heads of a group pass over a tile of latents at once.
void attend_columns_of_span(const Absorbed& a, const Job& job, int32_t span, const Tile& tile,
                            float* sums, SoftmaxState* states) {
  const int32_t end = std::min(limit_of(a, job), (span + 1) * kSpan), rank = a.p.cache.rank;
  const AttentionSequence& s = a.p.sequences[static_cast<size_t>(job.sequence)];
  const int64_t row = latent_row(a);
  a.inner.columns->strip(a.queries + place_of(a, job) * a.width, a.width, job.heads, a.width,
                         tile.panel);
  for (int32_t first = span * kSpan; first < end; first += kTile) {
    const int32_t count = std::min(kTile, end - first);
    gather_tile(a.inner, a.p.cache, s.blocks, first, count, tile.latents, row);
    int32_t seen[kHeadGroup];
    std::fill_n(seen, job.heads, count);
    int32_t next = first + count, ahead = std::min(kTile, limit_of(a, job) - next);
    const ColumnFetch fetch = fetch_of(a.p.cache, s.blocks, &next, &ahead),
                      more = fetch_of(a.p.cache, s.blocks, &next, &ahead);
    cpu::attend_columns(*a.inner.columns,
                        {.keys = tile.latents,
                         .key_row = row,
                         .key = a.width,
                         .values = tile.latents,
                         .value_step = row,
                         .value_strip = kColumns,
                         .value = rank},
                        {.strip = tile.panel,
                         .count = job.heads,
                         .seen = seen,
                         .scale = a.p.scale,
                         .states = states,
                         .sums = sums,
                         .sums_row = rank,
                         .fresh = first == span * kSpan},
                        tile.scores, fetch, more);
  }
}

// sums [heads, rank] and states of one span; the sums are not yet divided by the states' sums.
void attend_span(const Absorbed& a, const Job& job, int32_t span, const Tile& tile, float* sums,
                 SoftmaxState* states) {
  const int32_t end = std::min(limit_of(a, job), (span + 1) * kSpan), rank = a.p.cache.rank;
  const AttentionSequence& s = a.p.sequences[static_cast<size_t>(job.sequence)];
  std::fill_n(sums, int64_t{job.heads} * rank, 0.0f);
  std::fill_n(states, job.heads, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
  if (by_columns(a)) return attend_columns_of_span(a, job, span, tile, sums, states);
  for (int32_t first = span * kSpan; first < end; first += kTile) {
    const int32_t count = std::min(kTile, end - first);
    gather_tile(a.inner, a.p.cache, s.blocks, first, count, tile.latents, a.width);
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
// own, and groups are smaller if they are still too few.
std::span<Job> jobs_of(const Absorbed& a, bool by_span, int32_t group, Workspace& workspace) {
  int64_t most = 0;
  for (const AttentionSequence& s : a.p.sequences)
    most += int64_t{s.rows} * a.p.heads * (by_span ? (s.position + s.rows + kSpan - 1) / kSpan : 1);
  auto* jobs = workspace.take<Job>(most);
  size_t n = 0;
  for (size_t i = 0; i < a.p.sequences.size(); ++i)
    for (int32_t row = 0; row < a.p.sequences[i].rows; ++row)
      for (int32_t head = 0; head < a.p.heads; head += group) {
        Job job{static_cast<int32_t>(i), row, head, std::min(group, a.p.heads - head), 0};
        const int32_t spans = by_span ? (limit_of(a, job) + kSpan - 1) / kSpan : 1;
        for (; job.span < spans; ++job.span) jobs[n++] = job;
      }
  return {jobs, n};
}

void attend_by_span(const Absorbed& a, const Tile* tiles, Workspace& workspace) {
  std::span<const Job> jobs = jobs_of(a, true, kHeadGroup, workspace);
  if (jobs.size() < 2 * static_cast<size_t>(a.lanes))
    jobs = jobs_of(a, true, kHeadGroup / 2, workspace);
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

}  // namespace

void absorbed_by_tiles(const Absorbed& a, Workspace& workspace) {
  const std::span<const Job> rows = jobs_of(a, false, kHeadGroup, workspace);
  auto* tiles = workspace.take<Tile>(a.lanes);
  for (int lane = 0; lane < a.lanes; ++lane)
    tiles[lane] = {.latents = workspace.take<float>(kTile * latent_row(a)),
                   .scores = workspace.take<float>(kHeadGroup * kTile),
                   .panel = workspace.take<float>(panel_floats(a.width)),
                   .sums = workspace.take<float>(int64_t{kHeadGroup} * a.p.cache.rank)};
  if (a.lanes > 1 && rows.size() < 4 * static_cast<size_t>(a.lanes))
    return attend_by_span(a, tiles, workspace);
  share(a.ctx, a.lanes, static_cast<int>(rows.size()),
        [&](int lane, int i) { attend_all(a, rows[static_cast<size_t>(i)], tiles[lane]); });
}

}  // namespace fathom::cpu
