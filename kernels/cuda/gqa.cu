// How do grouped heads attend on a GPU? Query head h reads key-value head first + h / (heads /
// kv_heads). On the tensor cores where they take the shape (flash/grouped.h); else exactly, any
// shape: one block a (row, head).
#include "kernels/cuda/flash/grouped.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/row_attention.cuh"

namespace fathom::cuda {
namespace {

__global__ void attend(GqaParams p) {
  extern __shared__ char shared[];
  wait_for_previous();
  const int32_t h = static_cast<int32_t>(blockIdx.x);
  const RowContext at = context_of(p.tables, static_cast<int32_t>(blockIdx.y));
  const int64_t kv_head = p.first_kv_head + h / (p.heads / p.kv_heads);
  const int64_t dim = p.cache.dim, all = p.cache.heads * dim;
  const PagedHead head = {.base = p.cache.base,
                          .dtype = p.cache.dtype,
                          .block_stride = p.cache.block_stride,
                          .token_stride = 2 * all,
                          .block_tokens = p.cache.block_tokens,
                          .key = kv_head * dim,
                          .value = all + kv_head * dim,
                          .key_width = p.cache.dim,
                          .value_width = p.cache.dim};
  const float* q = p.q + at.row * p.q_stride + h * dim;
  attend_row(
      head, at, p.scale, shared, [&](int e) { return q[e]; },
      [&](int e, float v) { store(p.out, p.out_dtype, at.row * p.out_stride + h * dim + e, v); });
}

}  // namespace

void gqa(const OpContext& ctx, const GqaParams& p) {
  if (p.tables.rows_total == 0) return;
  if (flash::takes(ctx, p)) return flash::gqa(ctx, p);
  CHECK(p.tables.rows_total <= 65535, "rows are the y of a grid");
  launch(device_of(ctx), "gqa", attend,
         {{static_cast<unsigned>(p.heads), static_cast<unsigned>(p.tables.rows_total)},
          kRowThreads,
          row_attention_shared(p.cache.dim, p.cache.dim)},
         p);
}

}  // namespace fathom::cuda
