// How does a decode row attend on tensor cores? Queries into latent space with a plan of the work
// (into_latents.cu), attention split by split (attend.cu), and the splits merged and out through
// W_UV (out_of_latents.cu): four kernels, recordable, on grids that host bounds give.
#include "kernels/cuda/mla/fast.h"

#include <algorithm>

#include "kernels/cuda/mla/attend.h"
#include "kernels/cuda/mla/latent_map.h"
#include "kernels/cuda/mla/products.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

using namespace mla;

constexpr int64_t kSumsBudget = int64_t{512} << 20;
// Blocks of any cache: their number is not ours to know, and no table names one beyond it.
constexpr int64_t kAnyBlock = int64_t{1} << 31;

// Tokens start 16 bytes apart, or a multiple of it.
bool is_aligned(const LatentCache& c) {
  const int64_t stride = c.block_stride * dtype_bytes(c.dtype);
  return stride % 16 == 0 && reinterpret_cast<uintptr_t>(c.base) % 16 == 0;
}

bool is_fast(const OpContext& ctx, const MlaParams& p) {
  const LatentCache& c = p.cache;
  return ctx.compute == Compute::bfloat16 && (c.dtype == DType::bf16 || c.dtype == DType::i8) &&
         c.rank == kRank && c.rope == kRope && p.nope == kNope && p.value == kValue &&
         p.heads >= 1 && p.heads <= 128 && c.block_tokens > 0 && c.block_tokens % kBlockUnit == 0 &&
         is_aligned(c) && (p.out_dtype == DType::f32 || p.out_dtype == DType::bf16) &&
         can_multiply(p.kv_b);
}

template <class T>
T* take(const OpContext& ctx, int64_t count) {
  return static_cast<T*>(
      ctx.scratch->take(static_cast<size_t>(std::max<int64_t>(count, 1)) * sizeof(T)));
}

}  // namespace

bool mla_absorbed_fast(const OpContext& ctx, const MlaParams& p) {
  if (!is_fast(ctx, p)) return false;
  const int rows = p.tables.rows_total;
  if (rows == 0) return true;
  CudaDevice& device = device_of(ctx);
  Plan plan;
  plan.split = split_length(p.heads);
  plan.most_splits = std::max(1, splits_of(p.tables.context_max, plan.split));
  plan.rows_at_once = rows_at_once(rows, p.heads, plan.most_splits, kSumsBudget);
  plan.rows_at_once = std::min(plan.rows_at_once, 32768);  // grids are that high
  plan.batches = static_cast<int32_t>(ceil_div(rows, plan.rows_at_once));
  const int64_t most_items = int64_t{plan.rows_at_once} * plan.most_splits;
  plan.rows = take<RowItems>(ctx, rows);
  plan.items = take<Item>(ctx, plan.batches * most_items);
  plan.counts = take<int32_t>(ctx, plan.batches);
  auto* queries = take<uint16_t>(ctx, int64_t{rows} * p.heads * kWidth);
  auto* states = take<State>(ctx, most_items * p.heads);
  auto* merged = take<uint16_t>(ctx, int64_t{plan.rows_at_once} * p.heads * kRank);
  auto* sums = take<float>(ctx, most_items * p.heads * kRank);

  CUtensorMap query_map, latent_map = {};
  device.check(make_latent_map({.data = queries,
                                .tokens = p.heads,
                                .blocks = rows,
                                .block_stride = int64_t{p.heads} * kWidth,
                                .box_tokens = kHeadTile},
                               &query_map),
               "mla_absorbed: map of queries");
  const bool bytes = p.cache.dtype == DType::i8;
  if (!bytes)
    device.check(
        make_latent_map({.data = p.cache.base,
                         .tokens = p.cache.block_tokens,
                         .blocks = kAnyBlock,
                         .block_stride = p.cache.block_stride,
                         .box_tokens = p.cache.block_tokens % kTile == 0 ? kTile : kBlockUnit},
                        &latent_map),
        "mla_absorbed: map of the cache");
  if (device.failed()) return true;

  into_latents(device, p, plan, queries);
  for (int batch = 0; batch < plan.batches; ++batch) {
    const int first = batch * plan.rows_at_once;
    const int some = std::min(plan.rows_at_once, rows - first);
    attend(device, query_map, latent_map,
           {.items = plan.items + batch * most_items,
            .count = plan.counts + batch,
            .items_most = static_cast<int32_t>(int64_t{some} * plan.most_splits),
            .blocks = p.tables.blocks,
            .bytes = bytes ? static_cast<const uint8_t*>(p.cache.base) : nullptr,
            .byte_stride = p.cache.block_stride,
            .block_tokens = p.cache.block_tokens,
            .heads = p.heads,
            .scale_log2 = p.scale * 1.44269504f,
            .states = states,
            .sums = sums});
    out_of_latents(device, p, plan, first, some, states, sums, merged);
  }
  return true;
}

}  // namespace fathom::cuda
