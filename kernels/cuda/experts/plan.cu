// How are pairs put in order of their experts? A block for each expert: it counts what all experts
// have, so it knows where its own rows begin, and gives them out in the order of the pairs.
#include "kernels/cuda/experts/count.cuh"
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

using counting::kAll;
using counting::kLanes;

constexpr int kThreads = 512;

__global__ void __launch_bounds__(kThreads) place_pairs(const counting::Ids s) {
  __shared__ int32_t counts[kMostExperts + 1];
  __shared__ int32_t of_warps[kLanes];
  wait_for_previous();
  counting::count(s, counts);
  const auto mine = static_cast<int32_t>(blockIdx.x);
  if (mine == 0) counting::write_begins(s, counts);
  int32_t before = 0, begin = 0;
  for (int32_t first = 0; first < mine; first += kThreads) {
    const int32_t e = first + static_cast<int32_t>(threadIdx.x);
    counting::sum_before(e < mine ? counts[e] : 0, of_warps, &before);
    begin += before;
  }

  // Each warp has a run of pairs; first it counts the expert's, then it gives rows out.
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int32_t share = (s.pairs + kThreads - 1) / kThreads * kLanes;
  const int32_t from = min(warp * share, s.pairs), to = min(from + share, s.pairs);
  int32_t have = 0;
#pragma unroll 8
  for (int32_t at = from; at < to; at += kLanes) {
    const bool is = at + lane < to && s.wanted(at + lane) == mine;
    have += __popc(__ballot_sync(kAll, is));
  }
  if (lane == 0) of_warps[warp] = have;
  __syncthreads();
  int32_t row = begin;
  for (int w = 0; w < warp; ++w) row += of_warps[w];
#pragma unroll 8
  for (int32_t at = from; at < to; at += kLanes) {
    const int32_t pair = at + lane;
    const bool is = pair < to && s.wanted(pair) == mine;
    const uint32_t all = __ballot_sync(kAll, is);
    if (is) {
      const int32_t place = row + __popc(all & ((1u << lane) - 1));
      s.plan.row[pair] = place;
      s.plan.pair[place] = pair;
    }
    row += __popc(all);
  }
  // Pairs that want nobody, shared among the blocks.
  for (int32_t pair = mine * kThreads + threadIdx.x; pair < s.pairs; pair += gridDim.x * kThreads)
    if (s.wanted(pair) == s.experts) s.plan.row[pair] = -1;
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
  const ExpertPlan plan = take_plan(ctx, p);
  const auto experts = static_cast<int32_t>(p.experts.size());
  launch(device_of(ctx), "experts", place_pairs, {static_cast<unsigned>(experts), kThreads},
         counting::Ids{p.ids, p.rows * p.chosen, p.first_expert, experts, most, plan});
  return plan;
}

}  // namespace fathom::cuda
