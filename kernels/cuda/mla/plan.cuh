// Who makes the list of items the attention kernel works through? One thread block for each batch
// of rows, beside the product that runs before: a sum over the rows' numbers of splits, in order.
#pragma once

#include "kernels/cuda/mla/rows.cuh"

namespace fathom::cuda::mla {

// Inclusive sum over the block's kThreads (a multiple of 32); `sums` is shared, [kThreads / 32].
template <int kThreads>
__device__ __forceinline__ int sum_up_to_here(int value, int* sums) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int before = __shfl_up_sync(~0u, value, step);
    if (lane >= step) value += before;
  }
  __syncthreads();  // the last use of sums is over
  if (lane == 31) sums[warp] = value;
  __syncthreads();
  for (int i = 0; i < warp; ++i) value += sums[i];
  return value;
}

template <int kThreads>
__device__ __forceinline__ void plan_rows(const AttentionTables& tables, const Plan& plan,
                                          int batch, int* sums) {
  const int first = batch * plan.rows_at_once;
  const int rows = gemm::smaller(plan.rows_at_once, tables.rows_total - first);
  Item* const items = plan.items + int64_t{batch} * plan.rows_at_once * plan.most_splits;
  int done = 0;
  for (int begin = 0; begin < rows; begin += kThreads) {
    const int at = first + begin + static_cast<int>(threadIdx.x);
    const bool mine = begin + static_cast<int>(threadIdx.x) < rows;
    const Attending row = mine ? attending(tables, at) : Attending{};
    const int count = gemm::smaller(splits_of(row.limit, plan.split), plan.most_splits);
    const int end = done + sum_up_to_here<kThreads>(count, sums);
    if (mine) {
      plan.rows[at] = {end - count, count, row.row, 0};
      for (int s = 0; s < count; ++s)
        items[end - count + s] = {at, s * plan.split,
                                  gemm::smaller(row.limit, (s + 1) * plan.split), row.first_block};
    }
    __shared__ int total;
    if (threadIdx.x == kThreads - 1) total = end;
    __syncthreads();
    done = total;
    __syncthreads();
  }
  if (threadIdx.x == 0) plan.counts[batch] = done;
}

}  // namespace fathom::cuda::mla
