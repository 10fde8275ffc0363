// Which operations are written once for all instruction sets? All of them: each takes the inner
// loops to use. table.cpp binds them into one Ops per instruction set.
#pragma once

#include "base/check.h"
#include "kernels/cpu/inner.h"
#include "kernels/cpu/share.h"
#include "kernels/ops.h"

namespace fathom::cpu {

void embed(const Inner&, const OpContext&, const EmbedParams&);
void feed_tokens(const Inner&, const OpContext&, const FeedTokensParams&);
void rms_norm(const Inner&, const OpContext&, const RmsNormParams&);
void add_norm(const Inner&, const OpContext&, const AddNormParams&);
void add_bias(const Inner&, const OpContext&, const AddBiasParams&);
void gather_rows(const Inner&, const OpContext&, const GatherRowsParams&);
void linear(const Inner&, const OpContext&, const LinearParams&);
void rope(const Inner&, const OpContext&, const RopeParams&);
void cache_write(const Inner&, const OpContext&, const CacheWriteParams&);
void mla_prepare(const Inner&, const OpContext&, const MlaPrepareParams&);
void mla_absorbed(const Inner&, const OpContext&, const MlaParams&);
void mla_expanded(const Inner&, const OpContext&, const MlaParams&);
void kv_write(const Inner&, const OpContext&, const KvWriteParams&);
void gqa(const Inner&, const OpContext&, const GqaParams&);
void swiglu(const Inner&, const OpContext&, const SwigluParams&);
void route(const Inner&, const OpContext&, const RouteParams&);
void experts(const Inner&, const OpContext&, const ExpertsParams&);
void add_slots(const Inner&, const OpContext&, const AddSlotsParams&);
void add(const Inner&, const OpContext&, const AddParams&);

// With matrix tiles where products are of bf16.
void linear_tiles(const Inner&, const OpContext&, const LinearParams&);
void experts_tiles(const Inner&, const OpContext&, const ExpertsParams&);

// With even and odd lanes apart (parity.h).
void linear_parity(const Inner&, const OpContext&, const LinearParams&);
void experts_parity(const Inner&, const OpContext&, const ExpertsParams&);

// The CPU's activations are float32 throughout.
inline const float* floats(const void* x, DType dtype) {
  CHECK(dtype == DType::f32);
  return static_cast<const float*>(x);
}
inline float* floats(void* x, DType dtype) {
  CHECK(dtype == DType::f32);
  return static_cast<float*>(x);
}

// Rows as the inner loops want them under `compute`: float32 rows as they are; for bfloat16 a
// rounded copy in `buffer`, which holds rows * padded_width(width) floats.
constexpr int64_t padded_width(int64_t width) { return (width + 31) / 32 * 32; }
Rows prepare_rows(const Inner&, const OpContext&, Compute compute, const float* x, int64_t stride,
                  int32_t rows, int32_t width, float* buffer);

// Cuts the weight rows of a product into chunks of whole panels and calls body(first, outs, panel)
// for each, where `panel` is a workspace of `floats` that no other call uses meanwhile. About 8
// chunks a lane even out the ends.
template <class Body>
void share_panels(const OpContext& ctx, Workspace& workspace, const LinearParams& p,
                  int32_t panel_rows, int64_t floats, const Body& body) {
  const int64_t work = int64_t{p.rows} * p.weight.rows * p.weight.cols;
  const int32_t panels = (p.weight.rows + panel_rows - 1) / panel_rows;
  const int lanes = lanes_for(ctx, panels, work);
  const int32_t step = std::max(1, panels / (lanes * 8)) * panel_rows;
  float* of_lanes = workspace.take<float>(floats * lanes);
  share(ctx, lanes, (p.weight.rows + step - 1) / step, [&](int lane, int chunk) {
    const int32_t first = chunk * step;
    body(first, std::min(step, p.weight.rows - first), of_lanes + lane * floats);
  });
}

}  // namespace fathom::cpu
