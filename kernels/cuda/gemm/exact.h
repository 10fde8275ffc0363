// Which products are taken by plain float32 multiply-add? Those that must be exact (float32, router
// logits), and every weight the tensor cores' path can not read. Any dtype, shape and stride.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda::gemm {

// y = x W^T. `rounded`: x and the dequantised weights are rounded to bf16 first. Each output is
// summed in an order of k that depends on the weight's shape alone.
void multiply_exact(const OpContext& ctx, const LinearParams& p, bool rounded);

}  // namespace fathom::cuda::gemm
