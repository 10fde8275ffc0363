// Which experts does a token use, on a GPU? The same choice as kernels/cpu/route.cpp makes: one
// warp holds all scores of a token in registers and takes the best one after another; nothing is
// sorted. Exponentials go through double precision and sums keep the CPU's order, so that a near
// tie falls the same way on both.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kWarps = 4;          // tokens of a block
constexpr int kMostExperts = 512;  // 16 of each lane
constexpr int kMostChosen = kLanes;
constexpr uint32_t kAll = 0xFFFFFFFFu;

// e^x rounded to float32 from double precision: x = k ln 2 + r, |r| <= 0.347, and a Taylor series
// whose rest is below 1e-11. The CPU's expf is within 0.502 ulp, so the two nearly always agree.
// Adding 1.5 * 2^52 rounds to whole numbers, which then stand in the low bits: conversions are
// slow.
__device__ __forceinline__ float exp_rounded(float x) {
  if (x != x) return x;
  constexpr double kWhole = 6755399441055744.0;
  const double v = static_cast<double>(fminf(fmaxf(x, -120.0f), 100.0f));
  const double shifted = fma(v, 1.4426950408889634, kWhole);
  const double k = shifted - kWhole;
  const double r = fma(k, -1.9082149292705877e-10, fma(k, -0.6931471803691238, v));
  double p = 1.0 / 362880.0;
  p = fma(p, r, 1.0 / 40320.0);
  p = fma(p, r, 1.0 / 5040.0);
  p = fma(p, r, 1.0 / 720.0);
  p = fma(p, r, 1.0 / 120.0);
  p = fma(p, r, 1.0 / 24.0);
  p = fma(p, r, 1.0 / 6.0);
  p = fma(p, r, 0.5);
  p = fma(p, r, 1.0);
  p = fma(p, r, 1.0);
  const int high = __double2hiint(p) + (__double2loint(shifted) << 20);
  return static_cast<float>(__hiloint2double(high, __double2loint(p)));
}

// Larger numbers have larger keys, equal ones equal keys; 0 is kept for what is taken already, 1
// for what is not a number.
__device__ __forceinline__ uint32_t key_of(float v) {
  if (v != v) return 1;
  const uint32_t bits = __float_as_uint(v + 0.0f);  // -0 and 0 are equal
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
constexpr uint32_t kTaken = 0;

// Element i of lane l is number i * 32 + l. The warp's best, the lowest of equal ones; it is taken.
template <int N>
__device__ __forceinline__ int take_best(uint32_t (&keys)[N], int lane) {
  uint32_t best = keys[0];
#pragma unroll
  for (int i = 1; i < N; ++i) best = max(best, keys[i]);
  best = __reduce_max_sync(kAll, best);
  uint32_t mine = kAll;
#pragma unroll
  for (int i = 0; i < N; ++i)
    mine = min(mine, keys[i] == best ? static_cast<uint32_t>(i * kLanes + lane) : kAll);
  const auto id = static_cast<int>(__reduce_min_sync(kAll, mine));
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i * kLanes + lane == id) keys[i] = kTaken;
  return id;
}

struct Best {
  float first = -INFINITY, second = -INFINITY;
  __device__ __forceinline__ void add(float v) {
    if (v > first) {
      second = first;
      first = v;
    } else if (v > second) {
      second = v;
    }
  }
};

// Writes the score of every group. `lanes` of the warp share a group, each a strided part of it.
__device__ __forceinline__ void score_groups(const RouteParams& p, const float* biased, int lane,
                                             float* group) {
  const int size = p.experts / p.groups;
  int lanes = kLanes;
  while (lanes > 1 && lanes * p.groups > kLanes) lanes /= 2;
  const int part = lane % lanes;
  for (int first = 0; first < p.groups; first += kLanes / lanes) {
    const int g = first + lane / lanes;
    Best best;
    const int steps = (size + lanes - 1) / lanes;
    int step = g % steps;  // groups begin at different banks
    for (int i = 0; i < steps; ++i) {
      const int at = step * lanes + part;
      if (g < p.groups && at < size) best.add(biased[g * size + at]);
      if (++step == steps) step = 0;
    }
    for (int step = 1; step < lanes; step *= 2) {
      const float other_first = __shfl_xor_sync(kAll, best.first, step);
      const float other_second = __shfl_xor_sync(kAll, best.second, step);
      best.add(other_first);
      best.add(other_second);
    }
    if (g < p.groups && part == 0)
      group[g] =
          p.group_score == GroupScore::max || size < 2 ? best.first : best.first + best.second;
  }
}

// Logits of a token become scores: element i of this lane is that of expert i * 32 + lane. `row` is
// shared memory of N * 32 floats.
template <int N>
__device__ __forceinline__ void score_row(const RouteParams& p, int lane, float* row,
                                          float (&score)[N]) {
  if (p.scoring == Scoring::sigmoid) {
#pragma unroll
    for (int i = 0; i < N; ++i) score[i] = 1.0f / (1.0f + exp_rounded(-score[i]));
    return;
  }
  float largest = -INFINITY;
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i * kLanes + lane < p.experts) largest = fmaxf(largest, score[i]);
  for (int step = 1; step < kLanes; step *= 2)
    largest = fmaxf(largest, __shfl_xor_sync(kAll, largest, step));
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int e = i * kLanes + lane;
    score[i] = e < p.experts ? exp_rounded(score[i] - largest) : 0.0f;
    row[e] = score[i];
  }
  __syncwarp();
  float sum = 0;  // in the CPU's order, by every lane; what pads the last four adds 0
  for (int e = 0; e < p.experts; e += 4) {
    const float4 v = *reinterpret_cast<const float4*>(row + e);
    sum = sum + v.x;
    sum = sum + v.y;
    sum = sum + v.z;
    sum = sum + v.w;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) score[i] /= sum;
}

// What the best groups_kept groups do not have can no longer be chosen. group_of: of element i.
template <int N>
__device__ __forceinline__ void drop_groups(const RouteParams& p, int lane, float* row,
                                            const float (&biased)[N], const int (&group_of)[N],
                                            uint32_t (&keys)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) row[i * kLanes + lane] = biased[i];
  __shared__ float groups[kWarps][kMostExperts];
  float* group = groups[threadIdx.x / kLanes];
  __syncwarp();
  score_groups(p, row, lane, group);
  __syncwarp();
  const uint32_t dropped = key_of(-INFINITY);
  if (p.groups <= kLanes) {  // a lane for each counts those before it
    const uint32_t mine = lane < p.groups ? key_of(group[lane]) : kTaken;
    int before = 0;
    for (int g = 0; g < p.groups; ++g) {
      const uint32_t other = __shfl_sync(kAll, mine, g);
      before += other > mine || (other == mine && g < lane) ? 1 : 0;
    }
    const uint32_t kept = __ballot_sync(kAll, lane < p.groups && before < p.groups_kept);
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (group_of[i] < p.groups && (kept >> group_of[i] & 1) == 0 && keys[i] != kTaken)
        keys[i] = dropped;
    return;
  }
  uint32_t group_keys[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int g = i * kLanes + lane;
    group_keys[i] = g < p.groups ? key_of(group[g]) : kTaken;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) group[i * kLanes + lane] = 0;
  __syncwarp();
  for (int i = 0; i < p.groups_kept; ++i) {
    const int g = take_best(group_keys, lane);
    if (lane == 0) group[g] = 1;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (group_of[i] < p.groups && group[group_of[i]] == 0 && keys[i] != kTaken) keys[i] = dropped;
}

template <int N>
__global__ void __launch_bounds__(kWarps* kLanes, 4) route_rows(RouteParams p) {
  __shared__ alignas(16) float rows[kWarps][N * kLanes];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int t = blockIdx.x * kWarps + warp;
  float bias[N];  // a weight: fetched while the kernel before still writes logits
  int group_of[N];
  const int size = p.experts / p.groups;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int e = i * kLanes + lane;
    bias[i] = p.bias != nullptr && e < p.experts ? p.bias[e] : 0.0f;
    group_of[i] = e / size;
  }
  wait_for_previous();
  if (t >= p.rows) return;
  int32_t* ids = p.ids + int64_t{t} * p.chosen;
  float* weights = p.weights + int64_t{t} * p.chosen;
  if (p.slots != nullptr && p.slots[t] < 0) {
    if (lane < p.chosen) {
      ids[lane] = -1;
      weights[lane] = 0.0f;
    }
    return;
  }
  const float* logits = p.logits + int64_t{t} * p.experts;
  float score[N], biased[N];
  uint32_t keys[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int e = i * kLanes + lane;
    score[i] = e < p.experts ? logits[e] : 0.0f;
  }
  score_row(p, lane, rows[warp], score);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    biased[i] = p.bias != nullptr ? score[i] + bias[i] : score[i];
    keys[i] = i * kLanes + lane < p.experts ? key_of(biased[i]) : kTaken;
  }
  if (p.group_score != GroupScore::none && p.groups_kept < p.groups)
    drop_groups(p, lane, rows[warp], biased, group_of, keys);

  float* row = rows[warp];  // for a look-up by number
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) row[i * kLanes + lane] = score[i];
  int my_id = 0;  // lane j keeps slot j
  for (int j = 0; j < p.chosen; ++j) {
    const int id = take_best(keys, lane);
    if (lane == j) my_id = id;
  }
  __syncwarp();
  float my_weight = row[my_id];
  if (p.normalise) {
    __syncwarp();
    row[lane] = my_weight;
    __syncwarp();
    float sum = 0;  // in the order of the slots
#pragma unroll 8
    for (int j = 0; j < p.chosen; ++j) sum += row[j];
    my_weight /= sum + 1e-20f;
  }
  if (lane < p.chosen) {
    ids[lane] = my_id;
    weights[lane] = my_weight * p.factor;
  }
}

template <int N>
void start(const OpContext& ctx, const RouteParams& p) {
  const auto blocks = static_cast<unsigned>(ceil_div(p.rows, kWarps));
  launch(device_of(ctx), "route", route_rows<N>, {blocks, kWarps * kLanes}, p);
}

}  // namespace

void route(const OpContext& ctx, const RouteParams& p) {
  if (p.rows == 0 || p.chosen == 0) return;
  if (p.experts > kMostExperts || p.chosen > kMostChosen || p.chosen > p.experts)
    return device_of(ctx).check(cudaErrorInvalidValue, "route");
  if (p.experts <= 64)
    start<2>(ctx, p);
  else if (p.experts <= 128)
    start<4>(ctx, p);
  else if (p.experts <= 256)
    start<8>(ctx, p);
  else
    start<16>(ctx, p);
}

}  // namespace fathom::cuda
