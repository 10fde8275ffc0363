// How do rows of tokens come to stand in order of their experts, as bf16 in the order products take
// them (order.h)? A block for each row. Few pairs are put in order in the same launch: every block
// counts how many stand before its own, which takes less than another launch.
#include "kernels/cuda/experts/count.cuh"
#include "kernels/cuda/experts/order.h"
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / counting::kLanes;
constexpr int32_t kFewPairs = 1024;

struct Gather {
  const void* x = nullptr;
  DType x_dtype = DType::f32;
  int64_t x_stride = 0;
  int32_t chosen = 0, columns = 0;
  uint16_t* out = nullptr;  // [pairs, columns]
};

// Of four neighbouring threads, word j of thread i becomes word i of thread j.
__device__ __forceinline__ void transpose(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
  const int lane = threadIdx.x % counting::kLanes;
  const uint32_t mask = 0xFu << (lane & ~3);
  const auto swap = [&](uint32_t& low, uint32_t& high, int distance) {
    const bool upper = (lane & distance) != 0;
    const uint32_t other = __shfl_xor_sync(mask, upper ? low : high, distance);
    (upper ? low : high) = other;
  };
  swap(a, b, 1);
  swap(c, d, 1);
  swap(a, c, 2);
  swap(b, d, 2);
}

// A thread takes 16 columns of a row: those of one thread of wgmma, pairs in eight eighths of a
// block of 64. Four threads have a block and store two eighths each.
template <bool kE4m3>
__device__ __forceinline__ void copy_row(const Gather& g, int32_t pair, int32_t row) {
  const int64_t from = pair / g.chosen * g.x_stride;
  const int32_t step = gridDim.y * kThreads * 16;
  for (int32_t at = (blockIdx.y * kThreads + threadIdx.x) * 16; at < g.columns; at += step) {
    uint32_t bits[16];
    if (g.x_dtype == DType::bf16) {
      const auto* x = reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(g.x) + from + at);
      const uint4 low = x[0], high = x[1];
      const uint32_t words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int i = 0; i < 16; ++i) bits[i] = words[i / 2] >> i % 2 * 16 & 0xFFFF;
    } else {
      const auto* x = reinterpret_cast<const float4*>(static_cast<const float*>(g.x) + from + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 v = x[i];
        bits[i * 4] = narrow_bf16(v.x);
        bits[i * 4 + 1] = narrow_bf16(v.y);
        bits[i * 4 + 2] = narrow_bf16(v.z);
        bits[i * 4 + 3] = narrow_bf16(v.w);
      }
    }
    if constexpr (kE4m3)
#pragma unroll
      for (int i = 0; i < 16; ++i)
        bits[i] = narrow_bf16(widen_bf16(static_cast<uint16_t>(bits[i])) * kActivationFactor);
    uint32_t word[8];
#pragma unroll
    for (int eighth = 0; eighth < 8; ++eighth)
      word[eighth] = bits[column_at(eighth * 8, kE4m3)] | bits[column_at(eighth * 8 + 1, kE4m3)]
                                                              << 16;
    transpose(word[0], word[1], word[2], word[3]);
    transpose(word[4], word[5], word[6], word[7]);
    auto* to =
        reinterpret_cast<uint4*>(g.out + int64_t{row} * g.columns + at / kOrderBlock * kOrderBlock);
    const int thread = at % kOrderBlock / 16;
    to[thread] = {word[0], word[1], word[2], word[3]};
    to[thread + 4] = {word[4], word[5], word[6], word[7]};
  }
}

template <bool kE4m3>
__global__ void __launch_bounds__(kThreads)
    gather_rows(const Gather g, const ExpertPlan plan, int32_t experts) {
  wait_for_previous();
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (row < plan.begin[experts]) copy_row<kE4m3>(g, plan.pair[row], row);
}

// Block 0 counts for the plan, block i + 1 places pair i and copies for it.
template <bool kE4m3>
__global__ void __launch_bounds__(kThreads)
    place_and_gather(const Gather g, const counting::Ids s) {
  __shared__ int32_t counts[kMostExperts + 1];
  __shared__ int32_t before[kWarps];
  wait_for_previous();
  if (blockIdx.x == 0) {
    if (blockIdx.y > 0) return;
    counting::count(s, counts);
    counting::write_begins(s, counts);
    return;
  }
  const auto pair = static_cast<int32_t>(blockIdx.x) - 1;
  const int32_t mine = s.wanted(pair);
  if (mine == s.experts) {
    if (threadIdx.x == 0) s.plan.row[pair] = -1;
    return;
  }
  int32_t count = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < s.pairs; i += kThreads) {
    const int32_t other = s.wanted(i);
    count += other < mine || (other == mine && i < pair) ? 1 : 0;
  }
  count = __reduce_add_sync(counting::kAll, count);
  if (threadIdx.x % counting::kLanes == 0) before[threadIdx.x / counting::kLanes] = count;
  __syncthreads();
  int32_t row = 0;
  for (int i = 0; i < kWarps; ++i) row += before[i];
  if (threadIdx.x == 0 && blockIdx.y == 0) {
    s.plan.row[pair] = row;
    s.plan.pair[row] = pair;
  }
  copy_row<kE4m3>(g, pair, row);
}

template <bool kE4m3>
ExpertPlan gather(const OpContext& ctx, const ExpertsParams& p, int32_t most, const Gather& g) {
  const int32_t pairs = p.rows * p.chosen;
  const auto experts = static_cast<int32_t>(p.experts.size());
  if (pairs > kFewPairs) {
    const ExpertPlan plan = plan_experts(ctx, p, most);
    launch(device_of(ctx), "experts", gather_rows<kE4m3>, {static_cast<unsigned>(pairs), kThreads},
           g, plan, experts);
    return plan;
  }
  const ExpertPlan plan = take_plan(ctx, p);
  const auto parts = static_cast<unsigned>(ceil_div(g.columns, kThreads * 16));
  launch(device_of(ctx), "experts", place_and_gather<kE4m3>,
         {{static_cast<unsigned>(pairs + 1), parts}, kThreads}, g,
         counting::Ids{p.ids, pairs, p.first_expert, experts, most, plan});
  return plan;
}

}  // namespace

ExpertPlan gather_by_expert(const OpContext& ctx, const ExpertsParams& p, int32_t most, bool e4m3,
                            uint16_t* out) {
  const Gather g{p.x, p.x_dtype, p.x_stride, p.chosen, p.experts[0].gate.cols, out};
  return e4m3 ? gather<true>(ctx, p, most, g) : gather<false>(ctx, p, most, g);
}

}  // namespace fathom::cuda
