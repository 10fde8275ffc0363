// Who puts the pairs in order? One block of up to 32 warps, whatever their number (sort.cuh).
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/experts/sort.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

__global__ void __launch_bounds__(kMostWarps* sorting::kLanes) sort_all(const sorting::Sort s) {
  extern __shared__ int32_t counts[];
  for (int i = threadIdx.x; i < blockDim.x / sorting::kLanes * s.experts; i += blockDim.x)
    counts[i] = 0;
  __syncthreads();
  wait_for_previous();
  sorting::sort_pairs(s, counts);
}

}  // namespace

ExpertPlan take_plan(const OpContext& ctx, const ExpertsParams& p) {
  const int64_t pairs = int64_t{p.rows} * p.chosen;
  const auto experts = static_cast<int64_t>(p.experts.size());
  const auto take = [&](int64_t n) {
    return ctx.scratch->take_span<int32_t>(static_cast<size_t>(n)).data();
  };
  return {take(experts + 1), take(experts + 1), take(pairs), take(pairs)};
}

ExpertPlan plan_experts(const OpContext& ctx, const ExpertsParams& p, int32_t most) {
  const int32_t pairs = p.rows * p.chosen;
  const auto experts = static_cast<int32_t>(p.experts.size());
  const ExpertPlan plan = take_plan(ctx, p);
  // One warp for every 64 pairs, so that few pairs have few counts to add up.
  int64_t warps = std::min<int64_t>(kMostWarps, ceil_div(pairs, 64));
  warps = std::max<int64_t>(warps, std::min<int64_t>(8, ceil_div(experts, sorting::kLanes)));
  launch(device_of(ctx), "experts", sort_all,
         {1, static_cast<unsigned>(warps * sorting::kLanes),
          static_cast<size_t>(warps * experts) * sizeof(int32_t)},
         sorting::Sort{p.ids, pairs, p.first_expert, experts, most, plan});
  return plan;
}

}  // namespace fathom::cuda
