// How do the CUDA operations become one table? By name, once.
#include "kernels/cuda/device.h"
#include "kernels/cuda/operations.h"

namespace fathom {

const Ops* cuda_ops() {
  static const Ops ops = {
      .name = "cuda",
      .product_input = DType::bf16,
      .embed = cuda::embed,
      .feed_tokens = cuda::feed_tokens,
      .rms_norm = cuda::rms_norm,
      .add_norm = cuda::add_norm,
      .linear = cuda::linear,
      .add_bias = cuda::add_bias,
      .gather_rows = cuda::gather_rows,
      .rope = cuda::rope,
      .cache_write = cuda::cache_write,
      .mla_prepare = cuda::mla_prepare,
      .mla_absorbed = cuda::mla_absorbed,
      .mla_expanded = cuda::mla_expanded,
      .kv_write = cuda::kv_write,
      .gqa = cuda::gqa,
      .swiglu = cuda::swiglu,
      .route = cuda::route,
      .experts = cuda::experts,
      .add_slots = cuda::add_slots,
      .add = cuda::add,
  };
  return &ops;
}

}  // namespace fathom
