// How is y = x W^T computed with even and odd lanes apart? Rows of x are packed once, then chunks
// of weight rows are multiplied with all of them. A few rows times float32 or f16 take the way of
// linear.cpp, whose sums have the same lanes.
#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/parity.h"

namespace fathom::cpu {
namespace {

ParityRows packed(const OpContext& ctx, const LinearParams& p, bool round, Workspace& workspace) {
  ParityRows x = ParityRows::of(p.weight, p.rows);
  float* data = workspace.take<float>(x.floats());
  x.data = data;
  share_rows(ctx, x.tiles(), x.floats(), [&](int32_t t) {
    const float* rows[kParityTile];
    const int32_t begin = x.tile_begin(t);
    for (int32_t r = begin; r < x.tile_begin(t + 1); ++r)
      rows[r - begin] = floats(p.x, p.x_dtype) + r * p.x_stride;
    parity_avx2()->pack(
        {.x = x, .tile = t, .rows = rows, .round = round, .out = data + x.tile_at(t)});
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
  // Chunks of whole panels; about 8 per lane even out the ends.
  const int64_t work = int64_t{p.rows} * p.weight.rows * p.weight.cols;
  const int32_t panels = (p.weight.rows + kParityPanel - 1) / kParityPanel;
  const int lanes = lanes_for(ctx, panels, work);
  const int32_t step = std::max(1, panels / (lanes * 8)) * kParityPanel;
  const int chunks = (p.weight.rows + step - 1) / step;
  const int64_t panel = parity_panel_floats(p.weight.cols);
  float* panels_of_lanes = workspace.take<float>(panel * lanes);
  share(ctx, lanes, chunks, [&](int lane, int chunk) {
    const int32_t first = chunk * step;
    parity_avx2()->multiply({.x = x,
                             .w = p.weight,
                             .first = first,
                             .outs = std::min(step, p.weight.rows - first),
                             .round = round,
                             .y = p.y + first,
                             .y_stride = p.y_stride,
                             .panel = panels_of_lanes + lane * panel});
  });
}

}  // namespace fathom::cpu
