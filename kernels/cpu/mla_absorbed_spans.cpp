// How do decode rows attend with matrix tiles? A job is one row over one span of 256 positions or
// all of them, with all its heads: 16 heads are one block of queries, and every block uses the
// span's latents while they are in cache. Spans are merged in ascending order whether one lane took
// them or many, so neither shows in the bits.
#include "kernels/cpu/absorbed.h"
#include "kernels/cpu/span_rows.h"

namespace fathom::cpu {
namespace {

struct Job {
  int32_t sequence, row, span;
};

struct Lane {        // workspace
  uint16_t* copy;    // of the span's latents
  uint16_t* values;  // packed
  float* states;     // of a row's blocks
  float* more;       // the same for one more span
};

struct Blocks {
  const Absorbed& a;
  const SpanKernel& kernel;
  int32_t blocks;           // of a row's heads
  int32_t depth_tiles;      // of a latent with its rope key
  int32_t width;            // of sums: rank, padded
  const uint16_t* queries;  // [rows, blocks, depth_tiles] packed

  int64_t query_size() const { return int64_t{depth_tiles} * 512; }
  // largest, sum and sums of one block.
  int64_t state_size() const { return 32 + int64_t{kSpanQueries} * width; }
  BlockState state(float* states, int32_t block) const {
    float* s = states + block * state_size();
    return {.largest = s, .sum = s + 16, .sums = s + 32, .width = width};
  }
  const AttentionSequence& sequence(const Job& job) const {
    return a.p.sequences[static_cast<size_t>(job.sequence)];
  }
  int32_t limit(const Job& job) const { return sequence(job).position + job.row + 1; }
  int32_t spans(const Job& job) const { return (limit(job) + kSpan - 1) / kSpan; }
};

void attend_span(const Blocks& b, const Job& job, int32_t span, const Lane& lane, float* states) {
  const int32_t count = std::min(b.limit(job) - span * kSpan, kSpan);
  const SpanRows rows = span_rows(b.a.inner, paged_rows(b.a.p.cache), b.sequence(job).blocks,
                                  span * kSpan, count, lane.copy);
  b.kernel.pack_values(rows, b.a.p.cache.rank, lane.values);
  int32_t seen[kSpanQueries];
  std::fill_n(seen, kSpanQueries, count);
  const int64_t row = b.sequence(job).first_row + job.row;
  for (int32_t begin = 0; begin < b.blocks; begin += kSpanBlocks) {
    SpanAttendParams params[kSpanBlocks];
    const int32_t blocks = std::min(kSpanBlocks, b.blocks - begin);
    for (int32_t i = 0; i < blocks; ++i)
      params[i] = {.queries = b.queries + (row * b.blocks + begin + i) * b.query_size(),
                   .depth_tiles = b.depth_tiles,
                   .keys = rows,
                   .values = lane.values,
                   .seen = seen,
                   .scale = b.a.p.scale,
                   .out = b.state(states, begin + i)};
    b.kernel.attend(params, blocks);
  }
}

void merge(const Blocks& b, float* states, float* more) {
  for (int32_t i = 0; i < b.blocks; ++i) b.kernel.merge(b.state(states, i), b.state(more, i));
}

void finish(const Blocks& b, const Job& job, float* states) {
  const int32_t heads = b.a.p.heads, rank = b.a.p.cache.rank;
  float* out = b.a.sums + int64_t{b.sequence(job).first_row + job.row} * heads * rank;
  for (int32_t h = 0; h < heads; ++h) {
    const BlockState state = b.state(states, h / kSpanQueries);
    const float* sums = state.sums + h % kSpanQueries * int64_t{b.width};
    std::copy_n(sums, rank, out + int64_t{h} * rank);
    b.a.inner.multiply(out + int64_t{h} * rank, 1.0f / state.sum[h % kSpanQueries], rank);
  }
}

void attend_all(const Blocks& b, const Job& job, const Lane& lane) {
  attend_span(b, job, 0, lane, lane.states);
  for (int32_t span = 1; span < b.spans(job); ++span) {
    attend_span(b, job, span, lane, lane.more);
    merge(b, lane.states, lane.more);
  }
  finish(b, job, lane.states);
}

// Every row; `by_span` every span of it, which stand together in ascending order.
std::span<Job> jobs_of(const Blocks& b, bool by_span, Workspace& workspace) {
  int64_t most = 0;
  for (const AttentionSequence& s : b.a.p.sequences)
    most += int64_t{s.rows} * (by_span ? (s.position + s.rows + kSpan - 1) / kSpan : 1);
  auto* jobs = workspace.take<Job>(most);
  size_t n = 0;
  for (size_t i = 0; i < b.a.p.sequences.size(); ++i)
    for (int32_t row = 0; row < b.a.p.sequences[i].rows; ++row) {
      Job job{static_cast<int32_t>(i), row, 0};
      for (const int32_t spans = by_span ? b.spans(job) : 1; job.span < spans; ++job.span)
        jobs[n++] = job;
    }
  return {jobs, n};
}

void attend_by_span(const Blocks& b, std::span<const Job> jobs, const Lane* lanes,
                    Workspace& workspace) {
  const int64_t size = b.blocks * b.state_size();
  float* states = workspace.take<float>(size * static_cast<int64_t>(jobs.size()));
  share(b.a.ctx, b.a.lanes, static_cast<int>(jobs.size()), [&](int lane, int i) {
    const Job& job = jobs[static_cast<size_t>(i)];
    attend_span(b, job, job.span, lanes[lane], states + i * size);
  });
  for (size_t i = 0; i < jobs.size();) {
    const Job& job = jobs[i];
    float* state = states + static_cast<int64_t>(i) * size;
    for (++i; i < jobs.size() && jobs[i].span > 0; ++i)
      merge(b, state, states + static_cast<int64_t>(i) * size);
    finish(b, job, state);
  }
}

const uint16_t* packed_queries(const Blocks& b, Workspace& workspace) {
  const Absorbed& a = b.a;
  auto* packed = workspace.take<uint16_t>(int64_t{a.rows} * b.blocks * b.query_size());
  for (const Run& run : a.runs)
    share_rows(a.ctx, run.count, int64_t{run.count} * a.p.heads * a.width * 2, [&](int32_t r) {
      for (int32_t i = 0; i < b.blocks; ++i) {
        const int64_t row = run.first + r;
        const int32_t head = i * kSpanQueries;
        b.kernel.pack_rows(a.queries + (row * a.p.heads + head) * a.width, a.width,
                           std::min(kSpanQueries, a.p.heads - head), a.width,
                           packed + (row * b.blocks + i) * b.query_size());
      }
    });
  return packed;
}

}  // namespace

void absorbed_by_spans(const Absorbed& a, Workspace& workspace) {
  Blocks b{.a = a,
           .kernel = *a.inner.spans,
           .blocks = (a.p.heads + kSpanQueries - 1) / kSpanQueries,
           .depth_tiles = (a.width + 31) / 32,
           .width = static_cast<int32_t>(round_up(a.p.cache.rank, 32)),
           .queries = nullptr};
  b.queries = packed_queries(b, workspace);
  const std::span<const Job> rows = jobs_of(b, false, workspace);
  auto* lanes = workspace.take<Lane>(a.lanes);
  for (int i = 0; i < a.lanes; ++i)
    lanes[i] = {.copy = workspace.take<uint16_t>(span_copy_size(a.width)),
                .values = workspace.take<uint16_t>(kSpan * int64_t{b.width}),
                .states = workspace.take<float>(b.blocks * b.state_size()),
                .more = workspace.take<float>(b.blocks * b.state_size())};
  if (a.lanes > 1 && rows.size() < 4 * static_cast<size_t>(a.lanes))
    return attend_by_span(b, jobs_of(b, true, workspace), lanes, workspace);
  share(a.ctx, a.lanes, static_cast<int>(rows.size()),
        [&](int lane, int i) { attend_all(b, rows[static_cast<size_t>(i)], lanes[lane]); });
}

}  // namespace fathom::cpu
