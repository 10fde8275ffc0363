// How is y = x W^T computed? Weight rows are cut into chunks; a chunk reads its weights once and
// multiplies them with every row of x. Each output is one dot product in the lanes of inner.h,
// whatever chunk, tile or batch it falls in. FP8 weights are widened as q * scale, rounded once to
// float32 (or to bf16 under bfloat16).
#include <algorithm>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/operations.h"

namespace fathom::cpu {

Rows prepare_rows(const Inner& inner, const OpContext& ctx, Compute compute, const float* x,
                  int64_t stride, int32_t rows, int32_t width, float* buffer) {
  if (compute == Compute::float32)
    return {.data = x, .stride = stride, .count = rows, .packed = false};
  const int64_t padded = padded_width(width);
  share_rows(ctx, rows, rows * padded, [&](int32_t r) {
    const float* from = x + r * stride;
    if (inner.packs_bf16) {
      inner.pack(from, width, static_cast<int32_t>(padded),
                 reinterpret_cast<uint16_t*>(buffer) + r * padded);
    } else {
      float* to = buffer + r * padded;
      for (int32_t i = 0; i < width; ++i) to[i] = widen_bf16(narrow_bf16(from[i]));
    }
  });
  return {.data = buffer, .stride = padded, .count = rows, .packed = inner.packs_bf16};
}

void linear(const Inner& inner, const OpContext& ctx, const LinearParams& p) {
  if (p.rows == 0 || p.weight.rows == 0) return;
  Workspace workspace(ctx);
  const Compute compute = p.exact ? Compute::float32 : ctx.compute;
  float* buffer = compute == Compute::float32
                      ? nullptr
                      : workspace.take<float>(p.rows * padded_width(p.weight.cols));
  const Rows x = prepare_rows(inner, ctx, compute, floats(p.x, p.x_dtype), p.x_stride, p.rows,
                              p.weight.cols, buffer);
  share_panels(ctx, workspace, p, kPanelRows, panel_floats(p.weight.cols),
               [&](int32_t first, int32_t outs, float* panel) {
                 inner.dots({.x = x,
                             .w = p.weight,
                             .first = first,
                             .outs = outs,
                             .round = compute == Compute::bfloat16,
                             .y = p.y + first,
                             .y_stride = p.y_stride,
                             .panel = panel});
               });
}

}  // namespace fathom::cpu
