// How do queries get into latent space, and sums out of it? Two products with kv_b per head, on
// tensor cores (bf16, float32 sums); the first also plans the attention between them, the second
// merges its splits.
#pragma once

#include "kernels/cuda/mla/attend.h"
#include "kernels/cuda/mla/rows.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::mla {

// Whether the products read kv_b: bf16, or FP8 whose scale blocks begin with its rows and columns;
// 16-byte aligned rows.
bool can_multiply(const Weight& kv_b);

// latents [rows_total, heads, 576] bf16: q_nope W_UK | q_rope, of the attending rows in their
// order; and the plan.
void into_latents(CudaDevice& device, const MlaParams& p, const Plan& plan, uint16_t* latents);

// Rows [first, first + rows) of the attending ones, at most plan.rows_at_once, `first` a multiple
// of it: the states and sums of their items, merged in ascending order, times W_UV, into p.out.
void out_of_latents(CudaDevice& device, const MlaParams& p, const Plan& plan, int first, int rows,
                    const State* states, const float* sums);

}  // namespace fathom::cuda::mla
