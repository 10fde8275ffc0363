// In which order does plain arithmetic sum a product? A wide weight: k ascending, one chain for
// each output, in tiles through shared memory. A narrow one (a router) has too few outputs for
// that: its K is cut into parts, a thread block of a cluster each, and a part into 16 lanes; lanes
// are added as a fixed tree, parts in ascending order.
#include "kernels/cuda/gemm/exact.h"

#include "kernels/cuda/gemm/layout.h"
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/runs.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::gemm {
namespace {

constexpr const char* kName = "linear";
constexpr int kThreads = 256;

struct Outputs {
  float* y = nullptr;
  int64_t stride = 0;
};

// ---- wide ----

constexpr int kStep = 16;  // k in shared memory at a time

// A block of 16 x 16 threads computes 16 kT tokens x 16 kW weight rows; k ascends by one chain of
// multiply-adds for each output, whatever kT and kW are.
template <int kT, int kW, DType kX, DType kWeight>
__global__ __launch_bounds__(kThreads, 1) void chains(const Operand x, const Operand w,
                                                      const Outputs out, bool rounded) {
  constexpr int kPad = 4;
  __shared__ __align__(16) float xs[2][kStep][16 * kT + kPad];
  __shared__ __align__(16) float ws[2][kStep][16 * kW + kPad];
  wait_for_previous();
  const int t = threadIdx.x, tx = t % 16, ty = t / 16;
  const int first_row = blockIdx.x * 16 * kW, first_token = blockIdx.y * 16 * kT;
  float next_x[kT], next_w[kW];
  // Rows outside are read as the last row; what comes of them is not stored.
  const int token = first_token + t / (kStep / kT), row = first_row + t / (kStep / kW);
  const bool aligned = x.aligned && w.aligned;
  const auto fetch = [&](int k) {
    if (aligned && k + kStep <= w.cols) {
      load_run<kX, true>(x, smaller(token, x.rows - 1), k + t % (kStep / kT) * kT, rounded, next_x);
      load_run<kWeight, true>(w, smaller(row, w.rows - 1), k + t % (kStep / kW) * kW, rounded,
                              next_w);
    } else {
      load_run<kX, false>(x, token, k + t % (kStep / kT) * kT, rounded, next_x);
      load_run<kWeight, false>(w, row, k + t % (kStep / kW) * kW, rounded, next_w);
    }
  };
  const auto keep = [&](int at) {
#pragma unroll
    for (int i = 0; i < kT; ++i) xs[at][t % (kStep / kT) * kT + i][t / (kStep / kT)] = next_x[i];
#pragma unroll
    for (int i = 0; i < kW; ++i) ws[at][t % (kStep / kW) * kW + i][t / (kStep / kW)] = next_w[i];
  };
  // Thread (tx, ty) has tokens and rows in runs of up to 4, a run every 64.
  constexpr int kRunT = kT < 4 ? kT : 4, kRunW = kW < 4 ? kW : 4;
  const auto token_at = [&](int i) { return i / kRunT * 16 * kRunT + ty * kRunT + i % kRunT; };
  const auto row_at = [&](int i) { return i / kRunW * 16 * kRunW + tx * kRunW + i % kRunW; };

  float sum[kT][kW] = {};
  fetch(0);
  keep(0);
  __syncthreads();
  int now = 0;
  for (int k = 0; k < w.cols; k += kStep, now ^= 1) {
    const bool more = k + kStep < w.cols;
    if (more) fetch(k + kStep);
#pragma unroll
    for (int d = 0; d < kStep; ++d) {
      float a[kT], b[kW];
#pragma unroll
      for (int i = 0; i < kT; ++i) a[i] = xs[now][d][token_at(i)];
#pragma unroll
      for (int i = 0; i < kW; ++i) b[i] = ws[now][d][row_at(i)];
#pragma unroll
      for (int i = 0; i < kT; ++i)
#pragma unroll
        for (int j = 0; j < kW; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
    }
    if (more) keep(now ^ 1);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kT; ++i)
#pragma unroll
    for (int j = 0; j < kW; ++j) {
      const int token = first_token + token_at(i), row = first_row + row_at(j);
      if (token < x.rows && row < w.rows) out.y[token * out.stride + row] = sum[i][j];
    }
}

template <DType kX, DType kWeight>
void launch_chains(CudaDevice& device, const Operand& x, const Operand& w, const Outputs& out,
                   bool rounded) {
  const auto tiles = [&]<int kT, int kW>() {
    launch(device, kName, chains<kT, kW, kX, kWeight>,
           {dim3(static_cast<unsigned>(up_div(w.rows, 16 * kW)),
                 static_cast<unsigned>(up_div(x.rows, 16 * kT))),
            kThreads},
           x, w, out, rounded);
  };
  if (x.rows <= 16) return tiles.template operator()<1, 4>();
  if (x.rows <= 128) return tiles.template operator()<4, 4>();
  tiles.template operator()<8, 8>();
}

// ---- narrow ----

constexpr int kNarrowRows = 1024, kNarrowCols = 1024;  // at most, at least

constexpr int kLanes = 16;          // threads that share one output's k, 4 k at a time
constexpr int kRound = kLanes * 4;  // k

// A block has 16 groups of 16 lanes: groups_w x groups_t of them, each with kW rows x kT tokens.
template <int kW, int kT, int kGroupsW>
struct Narrow {
  static constexpr int kGroupsT = 16 / kGroupsW;
  static constexpr int kRows = kW * kGroupsW, kTokens = kT * kGroupsT;
  static constexpr int kOutputs = kRows * kTokens;
};

template <int kW, int kT, int kGroupsW, DType kX, DType kWeight>
__global__ __launch_bounds__(kThreads, 1) void lanes(const Operand x, const Operand w,
                                                     const Outputs out, bool rounded, int parts) {
  using N = Narrow<kW, kT, kGroupsW>;
  __shared__ float sums[N::kOutputs];  // [part][outputs of this block]
  __shared__ uint64_t come_here;
  const uint32_t come = shared_address(&come_here), sums_at = shared_address(sums);
  if (threadIdx.x == 0) {
    barrier_init(come, 1);
    barrier_init_done();
    barrier_expect(come, N::kOutputs * 4);
  }
  __syncthreads();
  cluster_arrive();
  wait_for_previous();
  const int lane = threadIdx.x % kLanes, group = threadIdx.x / kLanes;
  const int part = static_cast<int>(cluster_rank());
  const int first_row = static_cast<int>(blockIdx.x) / parts * N::kRows;
  const int first_token = static_cast<int>(blockIdx.y) * N::kTokens;
  const int row = group % kGroupsW * kW, token = group / kGroupsW * kT;  // within the block
  const int rounds = up_div(w.cols, kRound);
  const int end = part_begin(rounds, parts, part + 1);
  float sum[kT][kW] = {};
  const auto take = [&]<bool kWhole>(int round) {
    const int k = round * kRound + lane * 4;
    float a[kT][4], b[kW][4];
    // Rows outside are read as the last row; what comes of them is not stored.
#pragma unroll
    for (int j = 0; j < kW; ++j)
      load_run<kWeight, kWhole>(w, smaller(first_row + row + j, w.rows - 1), k, rounded, b[j]);
#pragma unroll
    for (int i = 0; i < kT; ++i)
      load_run<kX, kWhole>(x, smaller(first_token + token + i, x.rows - 1), k, rounded, a[i]);
#pragma unroll
    for (int d = 0; d < 4; ++d)
#pragma unroll
      for (int i = 0; i < kT; ++i)
#pragma unroll
        for (int j = 0; j < kW; ++j) sum[i][j] = fmaf(a[i][d], b[j][d], sum[i][j]);
  };
  int round = part_begin(rounds, parts, part);
  const int whole = x.aligned && w.aligned ? smaller(end, w.cols / kRound) : round;
#pragma unroll(kW* kT >= 64 ? 1 : kW * kT >= 16 ? 2 : 7)
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
  // Output e of the block is added up by block e / share of the cluster.
  const int share = N::kOutputs / parts;
  cluster_wait();
#pragma unroll
  for (int i = 0; i < kT; ++i)
#pragma unroll
    for (int j = 0; j < kW; ++j)
      if ((i * kW + j) % kLanes == lane) {
        const int e = (token + i) * N::kRows + row + j;
        const uint32_t owner = static_cast<uint32_t>(e / share);
        push(in_block(sums_at + (part * share + e % share) * 4, owner), sum[i][j],
             in_block(come, owner));
      }
  barrier_wait(come, 0);
  for (int e = threadIdx.x; e < share; e += kThreads) {
    float all = sums[e];
    for (int p = 1; p < parts; ++p) all += sums[p * share + e];
    const int output = part * share + e;
    const int t = first_token + output / N::kRows, r = first_row + output % N::kRows;
    if (t < x.rows && r < w.rows) out.y[t * out.stride + r] = all;
  }
}

// Parts of K: as many as leave 512 k to each, at most the 8 a cluster may have.
int narrow_parts(int cols) {
  int parts = 1;
  while (parts < 8 && cols / (2 * parts) >= 512) parts *= 2;
  return parts;
}

template <DType kX, DType kWeight>
void launch_lanes(CudaDevice& device, const Operand& x, const Operand& w, const Outputs& out,
                  bool rounded) {
  const int parts = narrow_parts(w.cols);
  const auto tiles = [&]<int kW, int kT, int kGroupsW>() {
    using N = Narrow<kW, kT, kGroupsW>;
    launch(device, kName, lanes<kW, kT, kGroupsW, kX, kWeight>,
           {.grid = dim3(static_cast<unsigned>(up_div(w.rows, N::kRows) * parts),
                         static_cast<unsigned>(up_div(x.rows, N::kTokens))),
            .block = kThreads,
            .cluster = parts},
           x, w, out, rounded, parts);
  };
  if (x.rows <= 4) return tiles.template operator()<1, 4, 16>();
  if (x.rows <= 32) return tiles.template operator()<4, 4, 4>();
  tiles.template operator()<8, 8, 4>();
}

// Calls with the dtypes of both operands as constants.
template <class Call>
void with_types(DType x, DType w, Call&& call) {
  const auto with_weight = [&]<DType kX>() {
    if (w == DType::f32) call.template operator()<kX, DType::f32>();
    if (w == DType::bf16) call.template operator()<kX, DType::bf16>();
    if (w == DType::f16) call.template operator()<kX, DType::f16>();
    if (w == DType::f8_e4m3) call.template operator()<kX, DType::f8_e4m3>();
  };
  if (x == DType::bf16)
    with_weight.template operator()<DType::bf16>();
  else
    with_weight.template operator()<DType::f32>();
}

bool runs_aligned(const void* data, DType dtype, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(4 * dtype_bytes(dtype)) == 0 &&
         stride % 4 == 0;
}

}  // namespace

void multiply_exact(const OpContext& ctx, const LinearParams& p, bool rounded) {
  CudaDevice& device = device_of(ctx);
  const Weight& weight = p.weight;
  const Operand x = {.data = p.x,
                     .dtype = p.x_dtype,
                     .aligned = runs_aligned(p.x, p.x_dtype, p.x_stride),
                     .rows = p.rows,
                     .cols = weight.cols,
                     .stride = p.x_stride};
  const Operand w = {.data = weight.data,
                     .dtype = weight.dtype,
                     .aligned = runs_aligned(weight.data, weight.dtype, weight.row_stride),
                     .rows = weight.rows,
                     .cols = weight.cols,
                     .stride = weight.row_stride,
                     .scale = weight.scale,
                     .scale_stride = weight.scale_stride,
                     .scale_row = weight.scale_row,
                     .scale_col = weight.scale_col};
  const Outputs out = {p.y, p.y_stride};
  with_types(x.dtype, w.dtype, [&]<DType kX, DType kWeight>() {
    if (w.rows <= kNarrowRows && w.cols >= kNarrowCols)
      launch_lanes<kX, kWeight>(device, x, w, out, rounded);
    else
      launch_chains<kX, kWeight>(device, x, w, out, rounded);
  });
}

}  // namespace fathom::cuda::gemm
