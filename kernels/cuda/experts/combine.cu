// How do the experts' rows come back to their tokens? One block of threads for a stretch of each
// token: it sums the token's rows in the order of its slots and adds the sum once.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;

template <class V>
struct Wide;
template <>
struct Wide<float> {
  static __device__ __forceinline__ float multiply_add(float w, float y, float sum) {
    return fmaf(w, y, sum);
  }
  static __device__ __forceinline__ float add(float a, float b) { return a + b; }
};
template <>
struct Wide<float4> {
  static __device__ __forceinline__ float4 multiply_add(float w, float4 y, float4 sum) {
    return {fmaf(w, y.x, sum.x), fmaf(w, y.y, sum.y), fmaf(w, y.z, sum.z), fmaf(w, y.w, sum.w)};
  }
  static __device__ __forceinline__ float4 add(float4 a, float4 b) {
    return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
  }
};

// `width` and the strides count values of V.
template <class V>
__global__ void __launch_bounds__(kThreads)
    add_rows(const int32_t* row, const float* weights, int32_t chosen, const V* y, int32_t width,
             V* out, int64_t out_stride) {
  wait_for_previous();
  const int64_t first = int64_t{blockIdx.x} * chosen;
  const int32_t at = blockIdx.y * kThreads + threadIdx.x;
  if (at >= width) return;
  V sum = {};
  bool any = false;
#pragma unroll 8
  for (int32_t j = 0; j < chosen; ++j) {
    const int32_t r = row[first + j];
    if (r < 0) continue;
    sum = Wide<V>::multiply_add(weights[first + j], y[int64_t{r} * width + at], sum);
    any = true;
  }
  if (!any) return;
  V* to = out + blockIdx.x * out_stride + at;
  *to = Wide<V>::add(*to, sum);
}

}  // namespace

void add_slots(const OpContext& ctx, const AddSlotsParams& p) {
  if (p.rows == 0) return;
  const auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  const auto rows = static_cast<unsigned>(p.rows);
  const auto blocks = [](int64_t width) {
    return static_cast<unsigned>(ceil_div(width, kThreads));
  };
  if (p.width % 4 == 0 && p.out_stride % 4 == 0 && aligned(p.out) && aligned(p.y))
    launch(device_of(ctx), "add_slots", add_rows<float4>, {{rows, blocks(p.width / 4)}, kThreads},
           p.at, p.weights, p.chosen, reinterpret_cast<const float4*>(p.y), p.width / 4,
           reinterpret_cast<float4*>(p.out), p.out_stride / 4);
  else
    launch(device_of(ctx), "add_slots", add_rows<float>, {{rows, blocks(p.width)}, kThreads}, p.at,
           p.weights, p.chosen, p.y, p.width, p.out, p.out_stride);
}

void add_in_slot_order(const OpContext& ctx, const ExpertsParams& p, const ExpertPlan& plan,
                       const float* y) {
  add_slots(ctx, {.y = y,
                  .at = plan.row,
                  .weights = p.weights,
                  .rows = p.rows,
                  .chosen = p.chosen,
                  .width = p.experts[0].gate.cols,
                  .out = p.out,
                  .out_stride = p.out_stride});
}

}  // namespace fathom::cuda
