// How does a group of query heads attend with matrix tiles? Per (sequence, key-value head, run of
// query rows): a span's keys are multiplied where they lie, its values are interleaved once, and
// all queries of the run, group by group and row by row, pass over them in blocks of 16, each with
// a running softmax. Or one span of it at a time, merged afterwards in the same order. A query is a
// column of its own in every product, so neither cuts nor lanes nor the batch show in its bits.
#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/span_rows.h"

namespace fathom::cpu {
namespace {

// Queries of a job: enough to repay interleaving a span's values, few enough that every lane gets
// some and their sums stay in L2.
constexpr int32_t kQueries = 512;

struct Job {
  int32_t sequence, kv_head, row, rows, span;
};

struct Lane {         // workspace
  uint16_t* copy;     // of keys and of values, where they do not lie as the tiles want them
  uint16_t* values;   // packed
  float* gathered;    // 16 queries
  uint16_t* queries;  // [blocks] packed
  float* states;      // [blocks]
  float* more;        // of kSpanBlocks blocks and one span
};

struct Grouped {
  const Inner& inner;
  const SpanKernel& kernel;
  const OpContext& ctx;
  const GqaParams& p;
  int32_t group, job_rows, blocks;  // query heads of a kv head; rows and blocks of a full job
  int32_t depth_tiles, width;       // of a query; of sums

  int64_t query_size() const { return int64_t{depth_tiles} * 512; }
  int64_t state_size() const { return 32 + int64_t{kSpanQueries} * width; }
  const AttentionSequence& sequence(const Job& job) const {
    return p.sequences[static_cast<size_t>(job.sequence)];
  }
  int32_t begin(const Job& job) const { return sequence(job).position + job.row; }
  int32_t end(const Job& job) const { return begin(job) + job.rows; }
  int32_t blocks_of(const Job& job) const {
    return (job.rows * group + kSpanQueries - 1) / kSpanQueries;
  }
  BlockState state(float* states, int32_t block) const {
    float* s = states + block * state_size();
    return {.largest = s, .sum = s + 16, .sums = s + 32, .width = width};
  }
  // Query i of a job is head i % group of row i / group.
  int64_t offset(const Job& job, int32_t i, int64_t row_stride) const {
    return (sequence(job).first_row + job.row + i / group) * row_stride +
           (int64_t{job.kv_head} * group + i % group) * p.cache.dim;
  }
};

PagedRows rows_of(const Grouped& a, const Job& job, bool values) {
  const KvCache& c = a.p.cache;
  const int64_t at = (int64_t{a.p.first_kv_head} + job.kv_head + (values ? c.heads : 0)) * c.dim;
  return {.base = static_cast<const char*>(c.base) + at * dtype_bytes(c.dtype),
          .dtype = c.dtype,
          .block_stride = c.block_stride,
          .row_stride = int64_t{2} * c.heads * c.dim,
          .block_tokens = c.block_tokens,
          .width = c.dim,
          .rank = 0};
}

void pack_queries(const Grouped& a, const Job& job, const Lane& lane) {
  const int32_t queries = job.rows * a.group, dim = a.p.cache.dim;
  for (int32_t b = 0; b < a.blocks_of(job); ++b) {
    const int32_t count = std::min(kSpanQueries, queries - b * kSpanQueries);
    for (int32_t i = 0; i < count; ++i)
      std::copy_n(a.p.q + a.offset(job, b * kSpanQueries + i, a.p.q_stride), dim,
                  lane.gathered + i * dim);
    a.kernel.pack_rows(lane.gathered, dim, count, dim, lane.queries + b * a.query_size());
  }
}

// Block `b` of a span's attention into `out`; `seen` holds what its queries see.
SpanAttendParams block_of(const Grouped& a, const Job& job, int32_t b, int32_t first,
                          const SpanRows& keys, const Lane& lane, int32_t* seen,
                          const BlockState& out) {
  const int32_t queries = job.rows * a.group;
  for (int32_t i = 0; i < kSpanQueries; ++i) {
    const int32_t row = std::min(b * kSpanQueries + i, queries - 1) / a.group;
    seen[i] = std::clamp(a.begin(job) + row + 1 - first, 0, keys.count);
  }
  SpanAttendParams params{.queries = lane.queries + b * a.query_size(),
                          .depth_tiles = a.depth_tiles,
                          .keys = keys,
                          .values = lane.values,
                          .seen = seen,
                          .scale = a.p.scale,
                          .out = out};
  params.keys.count = seen[kSpanQueries - 1];
  return params;
}

// All blocks over one span, kSpanBlocks at a time: block b into `of_block(b, place in its batch)`,
// then `done(b, state)`. A block before the span sees nothing and becomes an empty state.
template <class Of, class Done>
void attend_span(const Grouped& a, const Job& job, int32_t span, const Lane& lane, Of&& of_block,
                 Done&& done) {
  const int32_t first = span * kSpan, count = std::min(kSpan, a.end(job) - first);
  const auto& table = a.sequence(job).blocks;
  const SpanRows values = span_rows(a.inner, rows_of(a, job, true), table, first, count, lane.copy);
  a.kernel.pack_values(values, a.p.cache.dim, lane.values);
  const SpanRows keys = span_rows(a.inner, rows_of(a, job, false), table, first, count, lane.copy);
  const int32_t blocks = a.blocks_of(job);
  for (int32_t begin = 0; begin < blocks; begin += kSpanBlocks) {
    int32_t seen[kSpanBlocks][kSpanQueries];
    SpanAttendParams params[kSpanBlocks];
    const int32_t n = std::min(kSpanBlocks, blocks - begin);
    for (int32_t i = 0; i < n; ++i)
      params[i] = block_of(a, job, begin + i, first, keys, lane, seen[i], of_block(begin + i, i));
    a.kernel.attend(params, n);
    for (int32_t i = 0; i < n; ++i) done(begin + i, params[i].out);
  }
}

void finish(const Grouped& a, const Job& job, float* states) {
  const int32_t dim = a.p.cache.dim;
  for (int32_t i = 0; i < job.rows * a.group; ++i) {
    const BlockState state = a.state(states, i / kSpanQueries);
    float* out = floats(a.p.out, a.p.out_dtype) + a.offset(job, i, a.p.out_stride);
    std::copy_n(state.sums + i % kSpanQueries * int64_t{a.width}, dim, out);
    a.inner.multiply(out, 1.0f / state.sum[i % kSpanQueries], dim);
  }
}

void attend_all(const Grouped& a, const Job& job, const Lane& lane) {
  pack_queries(a, job, lane);
  for (int32_t span = 0; span * kSpan < a.end(job); ++span)
    attend_span(
        a, job, span, lane,
        [&](int32_t b, int32_t place) {
          return span == 0 ? a.state(lane.states, b) : a.state(lane.more, place);
        },
        [&](int32_t b, const BlockState& out) {
          if (span > 0) a.kernel.merge(a.state(lane.states, b), out);
        });
  finish(a, job, lane.states);
}

// Every job; `by_span` every span of it, which stand together in ascending order.
std::span<Job> jobs_of(const Grouped& a, bool by_span, Workspace& workspace) {
  int64_t most = 0;
  for (const AttentionSequence& s : a.p.sequences)
    most += int64_t{a.p.kv_heads} * ((s.rows + a.job_rows - 1) / a.job_rows) *
            (by_span ? (s.position + s.rows + kSpan - 1) / kSpan : 1);
  auto* jobs = workspace.take<Job>(most);
  size_t n = 0;
  for (size_t i = 0; i < a.p.sequences.size(); ++i)
    for (int32_t head = 0; head < a.p.kv_heads; ++head)
      for (int32_t row = 0; row < a.p.sequences[i].rows; row += a.job_rows) {
        Job job{static_cast<int32_t>(i), head, row,
                std::min(a.job_rows, a.p.sequences[i].rows - row), 0};
        const int32_t spans = by_span ? (a.end(job) + kSpan - 1) / kSpan : 1;
        for (; job.span < spans; ++job.span) jobs[n++] = job;
      }
  return {jobs, n};
}

void attend_by_span(const Grouped& a, std::span<const Job> jobs, const Lane* lanes, int count,
                    Workspace& workspace) {
  const int64_t size = a.blocks * a.state_size();
  float* states = workspace.take<float>(size * static_cast<int64_t>(jobs.size()));
  share(a.ctx, count, static_cast<int>(jobs.size()), [&](int lane, int i) {
    const Job& job = jobs[static_cast<size_t>(i)];
    pack_queries(a, job, lanes[lane]);
    attend_span(
        a, job, job.span, lanes[lane],
        [&](int32_t b, int32_t) { return a.state(states + i * size, b); },
        [](int32_t, const BlockState&) {});
  });
  for (size_t i = 0; i < jobs.size();) {
    const Job& job = jobs[i];
    float* state = states + static_cast<int64_t>(i) * size;
    for (++i; i < jobs.size() && jobs[i].span > 0; ++i)
      for (int32_t b = 0; b < a.blocks_of(job); ++b)
        a.kernel.merge(a.state(state, b), a.state(states + static_cast<int64_t>(i) * size, b));
    finish(a, job, state);
  }
}

}  // namespace

void gqa_by_spans(const Inner& inner, const OpContext& ctx, const GqaParams& p, int lanes) {
  Workspace workspace(ctx);
  const int32_t group = p.heads / p.kv_heads, rows = std::max(1, kQueries / group);
  int32_t most = 0;
  for (const AttentionSequence& s : p.sequences) most = std::max(most, std::min(s.rows, rows));
  const Grouped a{.inner = inner,
                  .kernel = *inner.spans,
                  .ctx = ctx,
                  .p = p,
                  .group = group,
                  .job_rows = rows,
                  .blocks = (most * group + kSpanQueries - 1) / kSpanQueries,
                  .depth_tiles = (p.cache.dim + 31) / 32,
                  .width = static_cast<int32_t>(round_up(p.cache.dim, 32))};
  const std::span<const Job> jobs = jobs_of(a, false, workspace);
  auto* spaces = workspace.take<Lane>(lanes);
  for (int i = 0; i < lanes; ++i)
    spaces[i] = {.copy = workspace.take<uint16_t>(span_copy_size(p.cache.dim)),
                 .values = workspace.take<uint16_t>(kSpan * int64_t{a.width}),
                 .gathered = workspace.take<float>(int64_t{kSpanQueries} * p.cache.dim),
                 .queries = workspace.take<uint16_t>(a.blocks * a.query_size()),
                 .states = workspace.take<float>(a.blocks * a.state_size()),
                 .more = workspace.take<float>(kSpanBlocks * a.state_size())};
  // Long prompts have jobs enough or nearly so; sharing their spans out would cost memory.
  if (lanes > 1 && jobs.size() < 4 * static_cast<size_t>(lanes) && most * group <= 64)
    return attend_by_span(a, jobs_of(a, true, workspace), spaces, lanes, workspace);
  share(ctx, lanes, static_cast<int>(jobs.size()),
        [&](int lane, int i) { attend_all(a, jobs[static_cast<size_t>(i)], spaces[lane]); });
}

}  // namespace fathom::cpu
