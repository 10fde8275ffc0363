// What must lie ready before keys and values are expanded? Where each run's tiles and query blocks
// stand in a row over all runs; kv_b as bf16 images; the latents and rope keys of a window of
// tiles, gathered from the paged cache as images, with zeros behind the end of a context (what the
// cache holds there may be anything, and 0 * NaN is NaN). Costs 1 % of the attention that follows.
#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flash/expanded.h"
#include "kernels/cuda/flash/places.h"
#include "kernels/cuda/flash/ptx.cuh"
#include "kernels/cuda/latent_bytes.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::flash {
namespace {

constexpr int kPlanThreads = 256;

// Inclusive sum over the block of a value of each thread.
__device__ int sum_upto(int value, int* parts) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(~0u, value, step);
    if (lane >= step) value += other;
  }
  __syncthreads();
  if (lane == 31) parts[warp] = value;
  __syncthreads();
  for (int w = 0; w < warp; ++w) value += parts[w];
  return value;
}

// Block 0 makes the sums; the others write zeros for the rows of padding.
__global__ __launch_bounds__(kPlanThreads) void plan(Expanded e) {
  wait_for_previous();
  const AttentionTables& t = e.p.tables;
  if (blockIdx.x > 0) {
    const int64_t width = int64_t{e.p.heads} * e.p.value;
    int32_t first = 0;
    for (int32_t i = static_cast<int32_t>(blockIdx.x) - 1; i < t.rows_total;
         i += static_cast<int32_t>(gridDim.x) - 1) {
      const int32_t run = t.row_runs[i];
      const AttentionRun r = t.runs[run];
      if (r.position >= 0) continue;
      for (first = i; first > 0 && t.row_runs[first - 1] == run;) --first;
      const int64_t row = (r.first_row + i - first) * e.p.out_stride;
      for (int64_t c = threadIdx.x; c < width; c += kPlanThreads)
        store(e.p.out, e.p.out_dtype, row + c, 0.0f);
    }
    return;
  }
  __shared__ int parts[2][kPlanThreads / 32];
  __shared__ int totals[2];
  int tiles = 0, blocks = 0;
  for (int32_t first = 0; first < t.count; first += kPlanThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    AttentionRun r{.position = -1};
    if (i < t.count) r = t.runs[i];
    const bool live = r.position >= 0 && r.rows > 0;
    const int tiles_upto = tiles + sum_upto(live ? tiles_of(r.position + r.rows) : 0, parts[0]);
    const int blocks_upto = blocks + sum_upto(live ? tiles_of(r.rows) : 0, parts[1]);
    if (i < t.count) {
      e.tiles_before[i + 1] = tiles_upto;
      e.blocks_before[i + 1] = blocks_upto;
    }
    if (threadIdx.x == kPlanThreads - 1) {
      totals[0] = tiles_upto;
      totals[1] = blocks_upto;
    }
    __syncthreads();
    tiles = totals[0];
    blocks = totals[1];
    __syncthreads();
  }
  if (threadIdx.x == 0) e.tiles_before[0] = e.blocks_before[0] = 0;
}

// Eight weights of a row from column `col` on, rounded to bf16.
__device__ uint4 weights_at(const Weight& w, int32_t row, int32_t col, bool aligned) {
  if (aligned && w.dtype == DType::bf16)
    return *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(w.data) +
                                           row * w.row_stride + col);
  float v[8];
  if (aligned && w.dtype == DType::f8_e4m3) {
    const uint2 q = *reinterpret_cast<const uint2*>(static_cast<const uint8_t*>(w.data) +
                                                    row * w.row_stride + col);
    const float scale = w.scale[((row + w.scale_row) / kScaleBlock) * w.scale_stride +
                                (col + w.scale_col) / kScaleBlock];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      v[i] = widen_e4m3(static_cast<uint8_t>((i < 4 ? q.x : q.y) >> (i % 4 * 8))) * scale;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = load_weight(w, row, col + i);
  }
  return {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])};
}

// A thread a chunk of 8 weights; 64 chunks a row, 256 rows a head.
__global__ __launch_bounds__(256) void pack_images(Expanded e, bool aligned) {
  wait_for_previous();
  const int index = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
  const int row = index / 64, chunk = index % 64;
  const uint4 v = weights_at(e.p.kv_b, row, chunk * 8, aligned);
  uint8_t* image = e.weights + row / kRows * kLatentImage;
  *reinterpret_cast<uint4*>(image + chunk_place(kRows, row % kRows, chunk)) = v;
}

// Eight values of a token from column `col` of [latent | rope key] on, as bf16.
__device__ uint4 token_at(const LatentCache& c, int64_t block, int slot, int col, bool aligned) {
  constexpr ByteToken kBytes{kRank, kRope};
  const int64_t stride = c.dtype == DType::i8 ? kBytes.size() : kRank + kRope;
  const int64_t at = block * c.block_stride + slot * stride;
  if (c.dtype == DType::bf16 && aligned)
    return *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(c.base) + at + col);
  float v[8];
  if (c.dtype == DType::i8) {
    const uint8_t* token = static_cast<const uint8_t*>(c.base) + at;
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = kBytes.at(token, col + i);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = load(c.base, c.dtype, at + col + i);
  }
  return {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])};
}

// blockIdx.x: tile of the window; y: an eighth of its rows. A warp a token.
__global__ __launch_bounds__(128) void gather(Expanded e, bool aligned) {
  wait_for_previous();
  const AttentionTables& t = e.p.tables;
  const int slot = static_cast<int>(blockIdx.x), tile = e.window * e.window_tiles + slot;
  if (tile >= e.tiles_before[t.count]) return;
  const int run = owner_of(e.tiles_before, t.count, tile);
  const AttentionRun r = t.runs[run];
  const int first = (tile - e.tiles_before[run]) * kRows;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  uint8_t* latents = e.latents + slot * kLatentImage;
  uint8_t* ropes = e.ropes + slot * kRopeImage;
  for (int row = static_cast<int>(blockIdx.y) * 16 + warp;
       row < (static_cast<int>(blockIdx.y) + 1) * 16; row += 4) {
    const int position = first + row;
    const bool there = position < r.position + r.rows;
    const int64_t block = there ? t.blocks[r.first_block + position / e.p.cache.block_tokens] : 0;
    for (int chunk = lane; chunk < (kRank + kRope) / 8; chunk += 32) {
      uint4 v{};
      if (there)
        v = token_at(e.p.cache, block, position % e.p.cache.block_tokens, chunk * 8, aligned);
      uint8_t* to = chunk < kRank / 8 ? latents + chunk_place(kRows, row, chunk)
                                      : ropes + chunk_place(kRows, row, chunk - kRank / 8);
      *reinterpret_cast<uint4*>(to) = v;
    }
  }
}

bool aligned_to(const void* p, int64_t stride_bytes, uintptr_t to) {
  return reinterpret_cast<uintptr_t>(p) % to == 0 && stride_bytes % static_cast<int64_t>(to) == 0;
}

}  // namespace

void plan_tiles(const OpContext& ctx, const Expanded& e) {
  const int64_t padders = std::min<int64_t>(e.p.tables.rows_total, 64);
  launch(device_of(ctx), "mla_expanded", plan, {static_cast<unsigned>(1 + padders), kPlanThreads},
         e);
}

void pack_weights(const OpContext& ctx, const Expanded& e) {
  const Weight& w = e.p.kv_b;
  const uintptr_t chunk = w.dtype == DType::bf16 ? 16 : 8;
  const bool whole = w.scale_col % 8 == 0;  // a chunk has one scale
  launch(device_of(ctx), "mla_expanded", pack_images, {static_cast<unsigned>(e.p.heads * 64), 256},
         e, whole && aligned_to(w.data, w.row_stride * dtype_bytes(w.dtype), chunk));
}

void gather_tiles(const OpContext& ctx, const Expanded& e) {
  const LatentCache& c = e.p.cache;
  const bool aligned = aligned_to(c.base, c.block_stride * dtype_bytes(c.dtype), 16);
  launch(device_of(ctx), "mla_expanded", gather,
         {dim3(static_cast<unsigned>(e.window_tiles), 8), 128}, e, aligned);
}

}  // namespace fathom::cuda::flash
