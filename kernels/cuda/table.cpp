// How do the CUDA operations become one table? By name, once.
#include "kernels/cuda/device.h"
#include "kernels/cuda/operations.h"

namespace fathom {

namespace {

// Only linear and experts know Compute::fp8; attention's products are then those of bfloat16.
template <class Params, void (*operation)(const OpContext&, const Params&)>
void unquantised(const OpContext& ctx, const Params& params) {
  OpContext context = ctx;
  if (ctx.compute == Compute::fp8) context.compute = Compute::bfloat16;
  operation(context, params);
}

}  // namespace

const Ops* cuda_ops() {
  static const Ops ops = {
      .name = "cuda",
      .product_input = DType::bf16,
      .product_codes = true,
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
      .mla_absorbed = unquantised<MlaParams, cuda::mla_absorbed>,
      .mla_expanded = unquantised<MlaParams, cuda::mla_expanded>,
      .kv_write = cuda::kv_write,
      .gqa = unquantised<GqaParams, cuda::gqa>,
      .swiglu = cuda::swiglu,
      .route = cuda::route,
      .experts = cuda::experts,
      .add_slots = cuda::add_slots,
      .add = cuda::add,
  };
  return &ops;
}

}  // namespace fathom
