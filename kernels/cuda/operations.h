// Which operations are CUDA's? All of ops.h; table.cpp binds them into one Ops. Each is defined in
// the file of its name.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda {

void embed(const OpContext&, const EmbedParams&);             // rows.cu
void feed_tokens(const OpContext&, const FeedTokensParams&);  // rows.cu
void rms_norm(const OpContext&, const RmsNormParams&);        // norm.cu
void add_norm(const OpContext&, const AddNormParams&);        // norm.cu
void linear(const OpContext&, const LinearParams&);           // linear.cu
void add_bias(const OpContext&, const AddBiasParams&);        // rows.cu
void gather_rows(const OpContext&, const GatherRowsParams&);  // rows.cu
void rope(const OpContext&, const RopeParams&);               // rope.cu
void cache_write(const OpContext&, const CacheWriteParams&);  // cache.cu
void mla_prepare(const OpContext&, const MlaPrepareParams&);  // mla_prepare.cu
void mla_absorbed(const OpContext&, const MlaParams&);        // mla_absorbed.cu
void mla_expanded(const OpContext&, const MlaParams&);        // mla_expanded.cu
void kv_write(const OpContext&, const KvWriteParams&);        // cache.cu
void gqa(const OpContext&, const GqaParams&);                 // gqa.cu
void swiglu(const OpContext&, const SwigluParams&);           // rows.cu
void route(const OpContext&, const RouteParams&);             // route.cu
void experts(const OpContext&, const ExpertsParams&);         // experts.cu
void add_slots(const OpContext&, const AddSlotsParams&);      // experts/combine.cu
void add(const OpContext&, const AddParams&);                 // rows.cu

}  // namespace fathom::cuda
