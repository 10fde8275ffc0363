// How is y = x W^T computed with even and odd lanes apart? Rows of x are packed once, then chunks
// of weight rows are multiplied with all of them. A few rows times float32 or f16 take the way of
// linear.cpp, whose sums have the same lanes.
#include "kernels/cpu/operations.h"
#include "kernels/cpu/parity.h"

namespace fathom::cpu {
namespace {

ParityRows packed(const OpContext& ctx, const LinearParams& p, bool round, Workspace& workspace) {
  ParityRows x = ParityRows::of(p.weight, p.rows);
  float* data = workspace.take<float>(x.floats());
  x.data = data;
  share_rows(ctx, x.tiles(), x.floats(), [&](int32_t t) {
    pack_tile(x, t, round, data,
              [&](int32_t r) { return floats(p.x, p.x_dtype) + r * p.x_stride; });
  });
  return x;
}

}  // namespace

void linear_parity(const Inner& inner, const OpContext& ctx, const LinearParams& p) {
  if (!parity_takes(p.weight.dtype, p.rows)) return linear(inner, ctx, p);
  if (p.rows == 0 || p.weight.rows == 0) return;
  Workspace workspace(ctx);
  const bool round = !p.exact && ctx.compute == Compute::bfloat16;
  const ParityRows x = packed(ctx, p, round, workspace);
  // Of e4m3 small ones, so that lanes end together; many rows scale x once for each.
  const int32_t panel_rows = !x.bytes ? kParityPanel : x.tiles() > 2 ? 32 : 16;
  share_panels(ctx, workspace, p, panel_rows, parity_panel_floats(p.weight.cols),
               [&](int32_t first, int32_t outs, float* panel) {
                 parity_avx2()->multiply({.x = x,
                                          .w = p.weight,
                                          .first = first,
                                          .outs = outs,
                                          .round = round,
                                          .y = p.y + first,
                                          .y_stride = p.y_stride,
                                          .panel = panel,
                                          .next = p.weight,
                                          .next_first = first + outs});
               });
}

}  // namespace fathom::cpu
