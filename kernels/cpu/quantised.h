// What becomes of products under Compute::fp8 on a CPU? Activations are quantised and each code is
// multiplied by its scale at once, rounded to float32 once; then the float32 product of that
// instruction set follows, with FP8 weights as code * scale and sums in its own lanes. So a set
// needs no third kind of products, and a row's bits depend on it alone: nothing is shared between
// rows.
#pragma once

#include "kernels/cpu/operations.h"

namespace fathom::cpu {

// out = code * scale of each row of x, `width` values; out has rows of `width` and may be x.
void quantise_rows(const OpContext&, const float* x, int64_t stride, int32_t rows, int32_t width,
                   float* out);

// Where nothing is quantised, fp8 is bfloat16.
inline OpContext unquantised(OpContext ctx) {
  if (ctx.compute == Compute::fp8) ctx.compute = Compute::bfloat16;
  return ctx;
}

bool quantises(const LinearParams&);
bool quantises(const ExpertsParams&);
// The parameters with x quantised, in the workspace.
LinearParams with_quantised_rows(const OpContext&, const LinearParams&, Workspace&);
ExpertsParams with_quantised_rows(const OpContext&, const ExpertsParams&, Workspace&);

// `operation` takes quantised rows as float32. Experts see fp8 and quantise between their products.
template <class Params, void (*operation)(const Inner&, const OpContext&, const Params&)>
void quantised(const Inner& inner, const OpContext& ctx, const Params& p) {
  if (ctx.compute != Compute::fp8 || !quantises(p)) return operation(inner, unquantised(ctx), p);
  Workspace workspace(ctx);
  OpContext context = ctx;
  if constexpr (std::is_same_v<Params, LinearParams>) context.compute = Compute::float32;
  operation(inner, context, with_quantised_rows(ctx, p, workspace));
}

}  // namespace fathom::cpu
