// How are queries and keys turned by their positions? A block takes one row and some of its heads:
// it finds the row's sines and cosines once, in shared memory, and turns pairs in place. The angle
// is one float32 product, as everywhere; its sine and cosine are float32 of a double polynomial, so
// they are right at any position and the kernel needs no stack, as sincosf() would.
#include <algorithm>

#include "kernels/cuda/operations.h"
#include "kernels/cuda/quads.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/turn.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPairsOfBlock = 1024;
constexpr int kMostPairs = 2048;  // whose turns stand in shared memory at once

struct RopeArgs {
  RopeParams p;
  int32_t heads_of_block;
  bool aligned;
};

// Pairs [i, i + 4) of a head at x, aligned.
__device__ __forceinline__ void turn_four(float* x, int32_t i, int32_t pairs, bool halves,
                                          const float* c, const float* s) {
  auto* low = reinterpret_cast<float4*>(halves ? x + i : x + 2 * i);
  auto* high = reinterpret_cast<float4*>(halves ? x + pairs + i : x + 2 * i + 4);
  float4 l = *low, h = *high;
  if (halves) {
    turn_pair(l.x, h.x, c[i], s[i]);
    turn_pair(l.y, h.y, c[i + 1], s[i + 1]);
    turn_pair(l.z, h.z, c[i + 2], s[i + 2]);
    turn_pair(l.w, h.w, c[i + 3], s[i + 3]);
  } else {
    turn_pair(l.x, l.y, c[i], s[i]);
    turn_pair(l.z, l.w, c[i + 1], s[i + 1]);
    turn_pair(h.x, h.y, c[i + 2], s[i + 2]);
    turn_pair(h.z, h.w, c[i + 3], s[i + 3]);
  }
  *low = l;
  *high = h;
}

__global__ void __launch_bounds__(kThreads) rope_rows(const RopeArgs args) {
  extern __shared__ float turns[];
  const RopeParams& p = args.p;
  const int32_t pairs = p.width / 2, head = static_cast<int32_t>(blockIdx.y) * args.heads_of_block;
  const int32_t heads = min(args.heads_of_block, p.heads - head);
  const int64_t row = blockIdx.x;
  float* cosines = turns;
  float* sines = turns + min(pairs, kMostPairs);
  wait_for_previous();
  const auto position = static_cast<float>(p.positions[row]);
  float* x = p.x + row * p.row_stride + head * p.head_stride;
  for (int32_t from = 0; from < pairs; from += kMostPairs) {
    const int32_t some = min(pairs - from, kMostPairs);
    __syncthreads();
    for (int32_t i = threadIdx.x; i < some; i += kThreads) {
      const Turn t = turn_by(__fmul_rn(position, p.frequencies[from + i]));
      cosines[i] = __fmul_rn(t.cosine, p.magnitude);
      sines[i] = __fmul_rn(t.sine, p.magnitude);
    }
    __syncthreads();
    if (args.aligned) {
      const int32_t fours = some / 4;
#pragma unroll 2
      for (int32_t k = threadIdx.x; k < heads * fours; k += kThreads)
        turn_four(x + k / fours * p.head_stride, k % fours * 4, pairs, p.halves, cosines, sines);
      continue;
    }
    for (int32_t k = threadIdx.x; k < heads * some; k += kThreads) {
      const int32_t i = k % some, at = from + i;
      float* of_head = x + k / some * p.head_stride;
      turn_pair(of_head[p.halves ? at : 2 * at], of_head[p.halves ? at + pairs : 2 * at + 1],
                cosines[i], sines[i]);
    }
  }
}

}  // namespace

void rope(const OpContext& ctx, const RopeParams& p) {
  const int32_t pairs = p.width / 2;
  if (pairs <= 0 || p.heads <= 0) return;
  const auto heads = static_cast<int32_t>(std::clamp<int64_t>(kPairsOfBlock / pairs, 1, p.heads));
  const bool aligned = pairs % 4 == 0 && pairs <= kMostPairs && p.row_stride % 4 == 0 &&
                       p.head_stride % 4 == 0 && reinterpret_cast<uintptr_t>(p.x) % 16 == 0;
  launch(device_of(ctx), "rope", rope_rows,
         {.grid = dim3(static_cast<unsigned>(std::max(p.rows, 0)),
                       static_cast<unsigned>(ceil_div(p.heads, heads))),
          .block = dim3(kThreads),
          .shared = static_cast<size_t>(std::min(pairs, kMostPairs)) * 2 * sizeof(float)},
         RopeArgs{p, heads, aligned});
}

}  // namespace fathom::cuda
