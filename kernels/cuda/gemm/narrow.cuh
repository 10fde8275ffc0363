// Which exact products have too few outputs to be taken a chain at a time? Those with a weight of
// few rows and many columns: routers. What exact.cu and narrow.cu share stands here too.
#pragma once

#include "kernels/cuda/gemm/runs.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::gemm {

struct Outputs {
  float* y = nullptr;
  int64_t stride = 0;
};

inline bool is_narrow(const Operand& weight) { return weight.rows <= 1024 && weight.cols >= 1024; }

// y = x W^T, as exact.h says, of a narrow weight.
void multiply_narrow(CudaDevice& device, const Operand& x, const Operand& w, const Outputs& out,
                     bool rounded);

// Calls with the dtypes of both operands as constants.
template <class Call>
void with_types(DType x, DType w, Call&& call) {
  const auto with_weight = [&]<DType kX>() {
    if (w == DType::f32) call.template operator()<kX, DType::f32>();
    if (w == DType::bf16) call.template operator()<kX, DType::bf16>();
    if (w == DType::f16) call.template operator()<kX, DType::f16>();
    if (w == DType::f8_e4m3) call.template operator()<kX, DType::f8_e4m3>();
  };
  if (x == DType::bf16)
    with_weight.template operator()<DType::bf16>();
  else
    with_weight.template operator()<DType::f32>();
}

}  // namespace fathom::cuda::gemm
