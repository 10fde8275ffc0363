// What does a work item of grouped-query attention consist of, where do its rows come from and go
// to, and how are spans merged? gqa_flash.cu multiplies in between.
#pragma once

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/flash/grouped.h"
#include "kernels/cuda/flash/places.h"
#include "kernels/cuda/flash/softmax.cuh"

namespace fathom::cuda::flash {

inline constexpr int32_t kRunsAtOnce = 256;  // of a launch: sums over them stand in shared memory

// Rows of one run and a key-value head, over tiles [first, last).
struct Span {
  AttentionRun run;
  int run_index, block, head, span;
  int first_row;  // f: query row * group + head of the group
  int rows;       // of the run, in f
  int first, last;
  int end;  // positions from here on are nobody's
};

template <class K>
__device__ __forceinline__ int blocks_of(const Grouped& g, const AttentionRun& r) {
  return (r.rows * g.group + K::kBlockRows - 1) / K::kBlockRows;
}
__device__ __forceinline__ int spans_of(const AttentionRun& r) {
  return r.position < 0 ? 0 : (r.position + r.rows + kSpan - 1) / kSpan;
}

// before[i]: items of the launch's runs ahead of run i. All threads; ends before a barrier.
template <class K>
__device__ __forceinline__ void count_items(const Grouped& g, int32_t* before) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (warp > 0) return;
  int sum = 0;
  for (int first = 0; first < g.run_count; first += 32) {
    int mine = 0;
    if (first + lane < g.run_count) {
      const AttentionRun r = g.p.tables.runs[g.first_run + first + lane];
      mine = blocks_of<K>(g, r) * g.p.kv_heads * (K::kApart ? spans_of(r) : 1);
    }
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(~0u, mine, step);
      if (lane >= step) mine += other;
    }
    if (first + lane < g.run_count) before[first + lane + 1] = sum + mine;
    sum += __shfl_sync(~0u, mine, 31);
  }
  if (lane == 0) before[0] = 0;
}

// Blocks that see the most come first.
template <class K>
__device__ __forceinline__ Span span_at(const Grouped& g, const int32_t* before, int index) {
  Span w;
  const int run = owner_of(before, g.run_count, index);
  w.run_index = g.first_run + run;
  w.run = g.p.tables.runs[w.run_index];
  int rest = index - before[run];
  const int blocks = blocks_of<K>(g, w.run);
  w.span = 0;
  if constexpr (K::kApart) {
    const int spans = spans_of(w.run);
    w.span = rest % spans;
    rest /= spans;
  }
  w.head = rest % g.p.kv_heads;
  w.block = blocks - 1 - rest / g.p.kv_heads;
  w.first_row = w.block * K::kBlockRows;
  w.rows = w.run.rows * g.group;
  const int last_row = min(w.first_row + K::kBlockRows, w.rows) - 1;
  w.end = w.run.position < 0 ? 0 : w.run.position + last_row / g.group + 1;
  const int tiles = (w.end + kTilePositions - 1) / kTilePositions;
  w.first = w.span * kSpanTiles;
  w.last = K::kApart ? min(tiles, w.first + kSpanTiles) : tiles;
  return w;
}

// The two rows of this thread: f, whether they are the run's, and their positions. Rows behind the
// run's end see what its last sees.
struct RowPair {
  int f[2];
  bool there[2];
  int position[2];
  int unmasked;  // position of the warpgroup's first row

  __device__ __forceinline__ RowPair(const Grouped& g, const Span& w, int side) {
    const int first = w.first_row + side * 64;
    const int t = static_cast<int>(threadIdx.x) % 128;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      f[h] = first + gemm::slab_row(t, 2 * h);
      there[h] = f[h] < w.rows;
      position[h] = w.run.position + min(f[h], w.rows - 1) / g.group;
    }
    unmasked = w.run.position + min(first, w.rows - 1) / g.group;
  }
};

// 64 rows as bf16 in pieces of 64 columns.
template <int kDim>
__device__ __forceinline__ void load_queries(const Grouped& g, const Span& w, int side,
                                             uint8_t* to) {
  constexpr int kChunks = kDim / 8;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) % 128; i < 64 * kChunks; i += 128) {
    const int row = i / kChunks, chunk = i % kChunks;
    const int f = min(w.first_row + side * 64 + row, w.rows - 1);
    const auto* q = reinterpret_cast<const float4*>(
        g.p.q + (w.run.first_row + f / g.group) * g.p.q_stride +
        (int64_t{w.head} * g.group + f % g.group) * kDim + chunk * 8);
    const float4 a = q[0], b = q[1];
    *reinterpret_cast<uint4*>(to + chunk_place(64, row, chunk)) = {pack(a.x, a.y), pack(a.z, a.w),
                                                                   pack(b.x, b.y), pack(b.z, b.w)};
  }
  gemm::show_to_copies();
}

template <int kCount>
__device__ __forceinline__ void clear(float (&o)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) o[i] = 0;
}

// A span is done: its sum over the four threads of a row.
__device__ __forceinline__ void close(Running& r) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    r.sum[h] += __shfl_xor_sync(~0u, r.sum[h], 1);
    r.sum[h] += __shfl_xor_sync(~0u, r.sum[h], 2);
  }
}

// Factors of what was summed so far and of a further span. `so_far` is a number; a span in which
// the row saw nothing (-inf) changes no bit.
struct Merged {
  float largest, keep, take;
};
__device__ __forceinline__ Merged merged(float so_far, float more, float factor) {
  const float largest = fmaxf(so_far, more);
  return {largest, power_of_two((so_far - largest) * factor),
          power_of_two((more - largest) * factor)};
}

// Sums so far stand in shared memory, number i of a thread at i * kApart.
template <int kApart, int kCount>
__device__ __forceinline__ void merge(float* totals, Running& total, const float (&o)[kCount],
                                      const Running& more, float factor, bool first) {
  if (first) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) totals[i * kApart] = o[i];
    total = more;
    return;
  }
  const Merged m[2] = {merged(total.largest[0], more.largest[0], factor),
                       merged(total.largest[1], more.largest[1], factor)};
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const Merged& mine = m[i / 2 % 2];
    totals[i * kApart] = fmaf(o[i], mine.take, totals[i * kApart] * mine.keep);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total.sum[h] = fmaf(more.sum[h], m[h].take, total.sum[h] * m[h].keep);
    total.largest[h] = m[h].largest;
  }
}
template <int kApart, int kCount>
__device__ __forceinline__ void take_totals(const float* totals, float (&o)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) o[i] = totals[i * kApart];
}

template <int kDim>
__device__ __forceinline__ int64_t out_place(const Grouped& g, const Span& w, int f) {
  return (w.run.first_row + f / g.group) * g.p.out_stride +
         (int64_t{w.head} * g.group + f % g.group) * kDim + threadIdx.x % 4 * 2;
}

__device__ __forceinline__ void store_pair(const Grouped& g, int64_t at, float a, float b) {
  if (g.p.out_dtype == DType::bf16)
    *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(g.p.out) + at) = pack(a, b);
  else
    *reinterpret_cast<float2*>(static_cast<float*>(g.p.out) + at) = {a, b};
}

template <int kDim>
__device__ __forceinline__ void store_rows(const Grouped& g, const Span& w, const RowPair& rows,
                                           const float (&o)[kDim / 2], const Running& r) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (!rows.there[h]) continue;
    const float inverse = 1.0f / r.sum[h];
    const int64_t at = out_place<kDim>(g, w, rows.f[h]);
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i)
      store_pair(g, at + i * 8, o[i * 4 + 2 * h] * inverse, o[i * 4 + 2 * h + 1] * inverse);
  }
}
template <int kDim>
__device__ __forceinline__ void store_zeros(const Grouped& g, const Span& w, const RowPair& rows) {
#pragma unroll
  for (int h = 0; h < 2; ++h)
    for (int i = 0; rows.there[h] && i < kDim / 8; ++i)
      store_pair(g, out_place<kDim>(g, w, rows.f[h]) + i * 8, 0, 0);
}

// Of one span, for merge_spans.
template <int kDim>
__device__ __forceinline__ void keep_partial(const Grouped& g, const Span& w, const RowPair& rows,
                                             const float (&o)[kDim / 2], const Running& r) {
  const int64_t place = g.partial(w.run_index, w.block, w.head, w.span);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (!rows.there[h]) continue;
    const int64_t row = place + rows.f[h] - w.first_row;
    float* sums = g.sums + row * kDim + threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i)
      *reinterpret_cast<float2*>(sums + i * 8) = {o[i * 4 + 2 * h], o[i * 4 + 2 * h + 1]};
    if (threadIdx.x % 4 == 0)
      *reinterpret_cast<float2*>(g.states + 2 * row) = {r.largest[h], r.sum[h]};
  }
}

}  // namespace fathom::cuda::flash
