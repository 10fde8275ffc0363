// In which order is a product with a narrow weight summed? Its K is cut into parts, a thread block
// of a cluster each, and a part into 16 lanes, 4 k at a time; lanes are added as a fixed tree,
// parts in ascending order. That order depends on the number of columns alone. A few tokens are
// multiplied from memory as they come; more go through shared memory, where a lane has up to 8 x 8
// outputs of its k: the same chains of multiply-adds, so the same bits.
#include "kernels/cuda/gemm/layout.h"
#include "kernels/cuda/gemm/narrow.cuh"
#include "kernels/cuda/gemm/ptx.cuh"

namespace fathom::cuda::gemm {
namespace {

constexpr const char* kName = "linear";
constexpr int kThreads = 256;
constexpr int kLanes = 16;          // threads that share one output's k, 4 k at a time
constexpr int kRound = kLanes * 4;  // k

// A block has 16 groups of 16 lanes: groups_w x groups_t of them, each with kW rows x kT tokens.
template <int kW, int kT, int kGroupsW>
struct Narrow {
  static constexpr int kGroupsT = 16 / kGroupsW;
  static constexpr int kRows = kW * kGroupsW, kTokens = kT * kGroupsT;
  static constexpr int kOutputs = kRows * kTokens;
};

// This thread's place among the groups of a block, and the block's among the tiles.
template <class N, int kW, int kT, int kGroupsW>
struct Place {
  int lane = threadIdx.x % kLanes;
  int row = static_cast<int>(threadIdx.x) / kLanes % kGroupsW * kW;    // within the block
  int token = static_cast<int>(threadIdx.x) / kLanes / kGroupsW * kT;  // the same
  int part = static_cast<int>(cluster_rank());
  int first_row, first_token;
  __device__ __forceinline__ explicit Place(int parts)
      : first_row(static_cast<int>(blockIdx.x) / parts * N::kRows),
        first_token(static_cast<int>(blockIdx.y) * N::kTokens) {}
};

// Where the parts of a block's outputs meet: output e is added up by block e / share of the
// cluster.
template <int kOutputs>
struct Meeting {
  uint32_t come, sums_at;
  const float* sums;  // [part][outputs of this block]

  // By all threads; then what comes before the products, then cluster_wait().
  __device__ __forceinline__ Meeting(float* room, uint64_t* barrier)
      : come(shared_address(barrier)), sums_at(shared_address(room)), sums(room) {
    if (threadIdx.x == 0) {
      barrier_init(come, 1);
      barrier_init_done();
      barrier_expect(come, kOutputs * 4);
    }
    __syncthreads();
    cluster_arrive();
  }
  __device__ __forceinline__ void bring(int part, int parts, int e, float sum) const {
    const int share = kOutputs / parts;
    const auto owner = static_cast<uint32_t>(e / share);
    push(in_block(sums_at + (part * share + e % share) * 4, owner), sum, in_block(come, owner));
  }
  // Adds the parts up and stores them; `rows` of the block.
  __device__ __forceinline__ void finish(int part, int parts, int rows, int first_row,
                                         int first_token, const Operand& x, const Operand& w,
                                         const Outputs& out) const {
    const int share = kOutputs / parts;
    barrier_wait(come, 0);
    for (int e = threadIdx.x; e < share; e += kThreads) {
      float all = sums[e];
      for (int p = 1; p < parts; ++p) all += sums[p * share + e];
      const int output = part * share + e;
      const int t = first_token + output / rows, r = first_row + output % rows;
      if (t < x.rows && r < w.rows) out.y[t * out.stride + r] = all;
    }
  }
};

template <int kW, int kT, int kGroupsW, DType kX, DType kWeight>
__global__ __launch_bounds__(kThreads, 1) void lanes(const Operand x, const Operand w,
                                                     const Outputs out, bool rounded, int parts) {
  using N = Narrow<kW, kT, kGroupsW>;
  __shared__ float sums[N::kOutputs];
  __shared__ uint64_t come;
  const Meeting<N::kOutputs> meeting(sums, &come);
  wait_for_previous();
  const Place<N, kW, kT, kGroupsW> at(parts);
  const int rounds = up_div(w.cols, kRound);
  const int end = part_begin(rounds, parts, at.part + 1);
  float sum[kT][kW] = {};
  const auto take = [&]<bool kWhole>(int round) {
    const int k = round * kRound + at.lane * 4;
    float a[kT][4], b[kW][4];
    // Rows outside are read as the last row; what comes of them is not stored.
#pragma unroll
    for (int j = 0; j < kW; ++j)
      load_run<kWeight, kWhole>(w, smaller(at.first_row + at.row + j, w.rows - 1), k, rounded,
                                b[j]);
#pragma unroll
    for (int i = 0; i < kT; ++i)
      load_run<kX, kWhole>(x, smaller(at.first_token + at.token + i, x.rows - 1), k, rounded, a[i]);
#pragma unroll
    for (int d = 0; d < 4; ++d)
#pragma unroll
      for (int i = 0; i < kT; ++i)
#pragma unroll
        for (int j = 0; j < kW; ++j) sum[i][j] = fmaf(a[i][d], b[j][d], sum[i][j]);
  };
  int round = part_begin(rounds, parts, at.part);
  const int whole = x.aligned && w.aligned ? smaller(end, w.cols / kRound) : round;
#pragma unroll 7
  for (; round < whole; ++round) take.template operator()<true>(round);
#pragma unroll 1
  for (; round < end; ++round) take.template operator()<false>(round);
#pragma unroll
  for (int i = 0; i < kT; ++i)
#pragma unroll
    for (int j = 0; j < kW; ++j)
#pragma unroll
      for (int apart = kLanes / 2; apart > 0; apart /= 2)
        sum[i][j] += __shfl_xor_sync(~0u, sum[i][j], apart);
  cluster_wait();
#pragma unroll
  for (int i = 0; i < kT; ++i)
#pragma unroll
    for (int j = 0; j < kW; ++j)
      if ((i * kW + j) % kLanes == at.lane)
        meeting.bring(at.part, parts, (at.token + i) * N::kRows + at.row + j, sum[i][j]);
  meeting.finish(at.part, parts, N::kRows, at.first_row, at.first_token, x, w, out);
}

// Sums of 16 lanes, kCount each, added as the tree of lanes l and l ^ 8, then ^ 4, ^ 2, ^ 1. Each
// step hands half of what is left to the other lane and keeps the other half: in the end lane l has
// the sums [l * kCount / 16, (l + 1) * kCount / 16), the first of `v`.
template <int kCount, int kApart = kLanes / 2>
__device__ __forceinline__ void add_lanes(float* v, int lane) {
  const bool upper = (lane & kApart) != 0;
#pragma unroll
  for (int e = 0; e < kCount / 2; ++e) {
    const float kept = upper ? v[e + kCount / 2] : v[e];
    const float given = upper ? v[e] : v[e + kCount / 2];
    v[e] = kept + __shfl_xor_sync(~0u, given, kApart);
  }
  if constexpr (kApart > 1) add_lanes<kCount / 2, kApart / 2>(v, lane);
}

// The same chains with operands from shared memory: each number is read and widened once a block.
// While one piece of kDeep rounds (1 or 2) is multiplied, the next is on its way.
template <int kW, int kT, int kGroupsW, int kDeep, DType kX, DType kWeight>
__global__ __launch_bounds__(kThreads, kW* kT > 32 ? 1 : 2) void lanes_of_tiles(
    const Operand x, const Operand w, const Outputs out, bool rounded, int parts) {
  using N = Narrow<kW, kT, kGroupsW>;
  constexpr int kDepth = kDeep * kRound, kRuns = kDepth / 4;  // runs of 4 k in a row of a piece
  constexpr int kRunsW = N::kRows * kRuns / kThreads, kRunsX = N::kTokens * kRuns / kThreads;
  __shared__ float sums[N::kOutputs];
  __shared__ uint64_t come;
  __shared__ float4 ws[2][N::kRows][kRuns];
  __shared__ float4 xs[2][N::kTokens][kRuns];
  const Meeting<N::kOutputs> meeting(sums, &come);
  wait_for_previous();
  const Place<N, kW, kT, kGroupsW> at(parts);
  const int rounds = up_div(w.cols, kRound);
  const int begin = part_begin(rounds, parts, at.part),
            end = part_begin(rounds, parts, at.part + 1);
  const int whole = x.aligned && w.aligned ? w.cols / kRound : 0;  // rounds
  const int thread = static_cast<int>(threadIdx.x);
  // Rows outside are read as the last row; what comes of them is not stored.
  const auto fetch = [&]<DType kType, int kCount>(const Operand& m, int first, int round,
                                                  float(&next)[kCount][4]) {
    const bool all = round + kDeep <= whole;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int run = i * kThreads + thread;
      const int row = smaller(first + run / kRuns, m.rows - 1);
      const int k = round * kRound + run % kRuns * 4;
      if (all)
        load_run<kType, true>(m, row, k, rounded, next[i]);
      else
        load_run<kType, false>(m, row, k, rounded, next[i]);
    }
  };
  const auto keep = [&]<int kCount, int kHere>(const float(&next)[kCount][4],
                                               float4(&to)[kHere][kRuns]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int run = i * kThreads + thread;
      to[run / kRuns][run % kRuns] = {next[i][0], next[i][1], next[i][2], next[i][3]};
    }
  };
  float sum[kT * kW] = {};
  float4 b[kW];
  const auto weights = [&](int from, int run) {
#pragma unroll
    for (int j = 0; j < kW; ++j) b[j] = ws[from][at.row + j][run];
  };
  const auto multiply = [&]<int kFirst, int kLast>(int from, int run) {
#pragma unroll
    for (int i = kFirst; i < kLast; ++i) {
      const float4 a = xs[from][at.token + i][run];
#pragma unroll
      for (int j = 0; j < kW; ++j) {
        float& s = sum[i * kW + j];
        s = fmaf(a.x, b[j].x, s);
        s = fmaf(a.y, b[j].y, s);
        s = fmaf(a.z, b[j].z, s);
        s = fmaf(a.w, b[j].w, s);
      }
    }
  };
  float next_w[kRunsW][4], next_x[kRunsX][4];
  fetch.template operator()<kWeight>(w, at.first_row, begin, next_w);
  fetch.template operator()<kX>(x, at.first_token, begin, next_x);
  keep(next_w, ws[0]);
  keep(next_x, xs[0]);
  __syncthreads();
  int now = 0;
#pragma unroll 1
  for (int round = begin; round < end; round += kDeep, now ^= 1) {
    const int next = round + kDeep;
    // Weights come during the first half of the work and tokens during the second: registers.
    if (next < end) fetch.template operator()<kWeight>(w, at.first_row, next, next_w);
    weights(now, at.lane);
    multiply.template operator()<0, kDeep == 1 ? kT / 2 : kT>(now, at.lane);
    if (next < end) {
      keep(next_w, ws[now ^ 1]);
      fetch.template operator()<kX>(x, at.first_token, next, next_x);
    }
    if constexpr (kDeep == 1) {
      multiply.template operator()<kT / 2, kT>(now, at.lane);
    } else if (round + 1 < end) {
      weights(now, kLanes + at.lane);
      multiply.template operator()<0, kT>(now, kLanes + at.lane);
    }
    if (next < end) keep(next_x, xs[now ^ 1]);
    __syncthreads();
  }
  add_lanes<kT * kW>(sum, at.lane);
  cluster_wait();
  constexpr int kEach = kT * kW / kLanes;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int output = at.lane * kEach + e;
    meeting.bring(at.part, parts, (at.token + output / kW) * N::kRows + at.row + output % kW,
                  sum[e]);
  }
  meeting.finish(at.part, parts, N::kRows, at.first_row, at.first_token, x, w, out);
}

// Parts of K: as many as leave 512 k to each, at most the 8 a cluster may have.
int parts_of_narrow(int cols) {
  int parts = 1;
  while (parts < 8 && cols / (2 * parts) >= 512) parts *= 2;
  return parts;
}

template <DType kX, DType kWeight>
void launch_for(CudaDevice& device, const Operand& x, const Operand& w, const Outputs& out,
                bool rounded) {
  const int parts = parts_of_narrow(w.cols);
  const auto start = [&]<class N>(auto* kernel) {
    launch(device, kName, kernel,
           {.grid = dim3(static_cast<unsigned>(up_div(w.rows, N::kRows) * parts),
                         static_cast<unsigned>(up_div(x.rows, N::kTokens))),
            .block = kThreads,
            .cluster = parts},
           x, w, out, rounded, parts);
  };
  if (x.rows <= 4)
    start.template operator()<Narrow<1, 4, 16>>(lanes<1, 4, 16, kX, kWeight>);
  else if (x.rows <= 16)
    start.template operator()<Narrow<4, 4, 4>>(lanes_of_tiles<4, 4, 4, 2, kX, kWeight>);
  else if (x.rows <= 32)
    start.template operator()<Narrow<4, 8, 4>>(lanes_of_tiles<4, 8, 4, 1, kX, kWeight>);
  else
    start.template operator()<Narrow<8, 8, 4>>(lanes_of_tiles<8, 8, 4, 1, kX, kWeight>);
}

}  // namespace

void multiply_narrow(CudaDevice& device, const Operand& x, const Operand& w, const Outputs& out,
                     bool rounded) {
  with_types(x.dtype, w.dtype, [&]<DType kX, DType kWeight>() {
    launch_for<kX, kWeight>(device, x, w, out, rounded);
  });
}

}  // namespace fathom::cuda::gemm
