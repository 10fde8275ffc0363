// How do tokens pass through their experts on a GPU? A plan made on the device puts (token, slot)
// pairs in order of their experts; each expert's rows go through gate and up, then down; each
// token's rows are added in slot order. Nothing is read back, so grids know bounds only.
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

ExpertMatrix matrix_of(const ExpertsParams& p, Weight ExpertWeights::*which) {
  ExpertMatrix m{p.experts[0].*which};
  if (p.experts.size() > 1) {
    const Weight& next = p.experts[1].*which;
    m.data_step = static_cast<const char*>(next.data) - static_cast<const char*>(m.first.data);
    if (next.scale != nullptr) m.scale_step = next.scale - m.first.scale;
  }
  return m;
}

}  // namespace

ExpertMatrices matrices_of(const ExpertsParams& p) {
  return {.gate = matrix_of(p, &ExpertWeights::gate),
          .up = matrix_of(p, &ExpertWeights::up),
          .down = matrix_of(p, &ExpertWeights::down),
          .experts = static_cast<int32_t>(p.experts.size()),
          .hidden = p.experts[0].gate.cols,
          .width = p.experts[0].gate.rows};
}

void experts(const OpContext& ctx, const ExpertsParams& p) {
  if (p.rows == 0 || p.chosen == 0 || p.experts.empty()) return;
  if (p.experts.size() > kMostExperts)
    return device_of(ctx).check(cudaErrorInvalidValue, "experts");
  const size_t mark = ctx.scratch->mark();
  const ExpertWeights& w = p.experts[0];
  const bool quantised = ctx.compute == Compute::fp8 && w.gate.dtype == DType::f8_e4m3 &&
                         w.up.dtype == DType::f8_e4m3 && w.down.dtype == DType::f8_e4m3;
  if (quantised && fits_quantised(p))
    experts_quantised(ctx, p);
  else if (quantised)
    experts_exact(ctx, p, true);
  else if (ctx.compute != Compute::float32 && fits_fast(p))
    experts_fast(ctx, p);
  else
    experts_exact(ctx, p, false);
  ctx.scratch->rewind(mark);  // the next operation on the stream finds it free
}

}  // namespace fathom::cuda
