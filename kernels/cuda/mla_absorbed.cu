// How does a query attend in latent space on a GPU? Its nope part goes through W_UK, then it
// attends to latents and rope keys as they are cached, and the latent result goes through W_UV:
// math.md 2.2. Shapes of published models go to tensor cores under bfloat16 (mla/fast.h); what
// stands here is exact float32 and takes any shape.
#include <algorithm>

#include "kernels/cuda/mla/exact.h"
#include "kernels/cuda/mla/fast.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/row_attention.cuh"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRowsAtOnce = 4;    // that share one pass over a head's part of kv_b
constexpr int32_t kPiece = 1024;  // rows whose queries and results are in scratch at a time

// queries[i][h] = [q_nope W_UK (rank) | q_rope]; row i of the piece.
__global__ void absorb(MlaParams p, int32_t first, int32_t rows, float* queries) {
  wait_for_previous();
  const int32_t h = static_cast<int32_t>(blockIdx.x);
  const int32_t begin = static_cast<int32_t>(blockIdx.y) * kRowsAtOnce;
  const int32_t count = min(kRowsAtOnce, rows - begin);
  const int32_t rank = p.cache.rank, width = rank + p.cache.rope;
  const float* q[kRowsAtOnce];
#pragma unroll
  for (int r = 0; r < kRowsAtOnce; ++r) {
    const RowContext at = context_of(p.tables, first + begin + min(r, count - 1));
    q[r] = p.q + at.row * p.q_stride + int64_t{h} * (p.nope + p.cache.rope);
  }
  const int64_t row_of_w = int64_t{h} * (p.nope + p.value);
  for (int32_t c = static_cast<int32_t>(threadIdx.x); c < width; c += kThreads) {
    float sum[kRowsAtOnce] = {};
    if (c < rank) {
      for (int32_t n = 0; n < p.nope; ++n) {
        const float w = load_weight(p.kv_b, row_of_w + n, c);
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; ++r) sum[r] = fmaf(q[r][n], w, sum[r]);
      }
    } else {
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r) sum[r] = q[r][p.nope + c - rank];
    }
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r)
      if (r < count) queries[(int64_t{begin + r} * p.heads + h) * width + c] = sum[r];
  }
}

// latents[i][h] = attention of queries[i][h] over the cache.
__global__ void attend(MlaParams p, int32_t first, const float* queries, float* latents) {
  extern __shared__ char shared[];
  wait_for_previous();
  const int32_t h = static_cast<int32_t>(blockIdx.x), i = static_cast<int32_t>(blockIdx.y);
  const int32_t rank = p.cache.rank, width = rank + p.cache.rope;
  const RowContext at = context_of(p.tables, first + i);
  const ByteToken bytes{rank, p.cache.rope};
  const PagedHead head = {.base = p.cache.base,
                          .dtype = p.cache.dtype,
                          .block_stride = p.cache.block_stride,
                          .token_stride = p.cache.dtype == DType::i8 ? bytes.size() : width,
                          .block_tokens = p.cache.block_tokens,
                          .key_width = width,
                          .value_width = rank,
                          .bytes = bytes};
  const int64_t place = int64_t{i} * p.heads + h;
  attend_row(
      head, at, p.scale, shared, [&](int e) { return queries[place * width + e]; },
      [&](int e, float v) { latents[place * rank + e] = v; });
}

// out[row][h] = latents[i][h] W_UV; a warp an output number.
__global__ void expand(MlaParams p, int32_t first, int32_t rows, const float* latents) {
  wait_for_previous();
  const int32_t h = static_cast<int32_t>(blockIdx.x);
  const int32_t begin = static_cast<int32_t>(blockIdx.y) * kRowsAtOnce;
  const int32_t count = min(kRowsAtOnce, rows - begin);
  const int32_t rank = p.cache.rank;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t row_of_w = int64_t{h} * (p.nope + p.value) + p.nope;
  for (int32_t v = warp; v < p.value; v += kThreads / 32) {
    float sum[kRowsAtOnce] = {};
    for (int32_t c = lane; c < rank; c += 32) {
      const float w = load_weight(p.kv_b, row_of_w + v, c);
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r)
        if (r < count)
          sum[r] = fmaf(latents[(int64_t{begin + r} * p.heads + h) * rank + c], w, sum[r]);
    }
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      for (int step = 16; step > 0; step /= 2) sum[r] += __shfl_xor_sync(~0u, sum[r], step);
      if (r < count && lane == 0)
        store(p.out, p.out_dtype,
              context_of(p.tables, first + begin + r).row * p.out_stride + int64_t{h} * p.value + v,
              sum[r]);
    }
  }
}

}  // namespace

void mla_exact(const OpContext& ctx, const MlaParams& p) {
  CudaDevice& device = device_of(ctx);
  const int32_t piece = std::min(kPiece, p.tables.rows_total);
  const int32_t width = p.cache.rank + p.cache.rope;
  auto* queries = static_cast<float*>(
      ctx.scratch->take(sizeof(float) * static_cast<size_t>(int64_t{piece} * p.heads * width)));
  auto* latents = static_cast<float*>(ctx.scratch->take(
      sizeof(float) * static_cast<size_t>(int64_t{piece} * p.heads * p.cache.rank)));
  const auto heads = static_cast<unsigned>(p.heads);
  for (int32_t first = 0; first < p.tables.rows_total; first += piece) {
    const int32_t rows = std::min(piece, p.tables.rows_total - first);
    const auto groups = static_cast<unsigned>(ceil_div(rows, kRowsAtOnce));
    launch(device, "mla_absorbed", absorb, {{heads, groups}, kThreads}, p, first, rows, queries);
    launch(device, "mla_absorbed", attend,
           {{heads, static_cast<unsigned>(rows)},
            kRowThreads,
            row_attention_shared(width, p.cache.rank)},
           p, first, queries, latents);
    launch(device, "mla_absorbed", expand, {{heads, groups}, kThreads}, p, first, rows, latents);
  }
}

void mla_absorbed(const OpContext& ctx, const MlaParams& p) {
  if (p.tables.rows_total == 0 || mla_absorbed_fast(ctx, p)) return;
  mla_exact(ctx, p);
}

}  // namespace fathom::cuda
