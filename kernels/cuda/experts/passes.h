// What passes between the steps of the mixture? The plan, then the rows of every expert through
// gate and up, then through down, then each token's rows together. Host functions; each one
// launches.
#pragma once

#include "kernels/cuda/experts/plan.h"

namespace fathom::cuda {

// One matrix of all experts: expert e's is `first` moved by e * data_step bytes and e * scale_step
// floats.
struct ExpertMatrix {
  Weight first;
  int64_t data_step = 0, scale_step = 0;
};
struct ExpertMatrices {
  ExpertMatrix gate, up, down;
  int32_t experts = 0, hidden = 0, width = 0;
};
ExpertMatrices matrices_of(const ExpertsParams& p);  // experts.cu

// Counts and orders the pairs of `p`; tiles of at most `most` rows. take_plan: room only.
ExpertPlan plan_experts(const OpContext& ctx, const ExpertsParams& p, int32_t most);  // plan.cu
ExpertPlan take_plan(const OpContext& ctx, const ExpertsParams& p);

// The same, and the tokens of every row to out [pairs, hidden]: bf16 in the order of order.h.
ExpertPlan gather_by_expert(const OpContext& ctx, const ExpertsParams& p, int32_t most, bool e4m3,
                            uint16_t* out);  // gather.cu

// out[t] += sum over slots of weights[t, j] * y[row of (t, j)], y [pairs, hidden] float32.
void add_in_slot_order(const OpContext& ctx, const ExpertsParams& p, const ExpertPlan& plan,
                       const float* y);  // combine.cu

// The whole mixture in float32, for any shape and type. `quantised`: as Compute::fp8 has it, each
// code times its scale first.
void experts_exact(const OpContext& ctx, const ExpertsParams& p, bool quantised);  // exact.cu

// The mixture on tensor cores, for weights of e4m3 or bf16 whose columns come in blocks of 64.
bool fits_fast(const ExpertsParams& p);
void experts_fast(const OpContext& ctx, const ExpertsParams& p);  // fast.cu

// The mixture as codes (Compute::fp8), for weights of e4m3 that the copy engine can read.
bool fits_quantised(const ExpertsParams& p);
void experts_quantised(const OpContext& ctx, const ExpertsParams& p);  // quantised.cu

}  // namespace fathom::cuda
