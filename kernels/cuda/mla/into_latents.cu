// How does a query get into latent space? Per head, q_nope [rows, 128] times the head's key rows of
// kv_b [128, 512]: a thread block takes 128 of the 512 columns and up to 64 rows, so the weight is
// read once for 64 rows. The order of the sum is one chain over the 128 depths for any number of
// rows. The rope part is rounded and copied along. The last row of thread blocks plans the
// attention.
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/mla/mma.cuh"
#include "kernels/cuda/mla/plan.cuh"
#include "kernels/cuda/mla/products.h"

namespace fathom::cuda::mla {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 128;    // of a thread block
constexpr int kPitch = 128 + 8;  // bf16 of a row in shared memory: no bank conflicts
constexpr int kChunks = kRank / kColumns;

template <int kSlabs>
constexpr int shared_bytes() {
  return (kNope + kSlabs * 16) * kPitch * 2;
}

// The weight's [128 depths, 128 columns]: before the previous kernel ends, since it never changes.
__device__ __forceinline__ void load_weight_tile(const Weight& w, int first_row, int first_column,
                                                 uint16_t* to) {
  const float scale = scale_of(w, first_row, first_column);
#pragma unroll
  for (int i = threadIdx.x; i < kNope * kColumns / 8; i += kThreads) {
    const int row = i / (kColumns / 8), column = i % (kColumns / 8) * 8;
    *reinterpret_cast<uint4*>(to + row * kPitch + column) =
        load_eight(w, (first_row + row) * w.row_stride + first_column + column, scale);
  }
}

template <int kSlabs>
__global__ void __launch_bounds__(kThreads)
    into_latents_kernel(const MlaParams p, const Plan plan, uint16_t* latents) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto* weight = reinterpret_cast<uint16_t*>(memory);
  uint16_t* queries = weight + kNope * kPitch;
  __shared__ int rows_of[kSlabs * 16];
  __shared__ int warp_sums[kThreads / 32];
  if (blockIdx.y == gridDim.y - 1) {
    wait_for_previous();
    for (int batch = blockIdx.x; batch < plan.batches; batch += gridDim.x)
      plan_rows<kThreads>(p.tables, plan, batch, warp_sums);
    return;
  }
  const int head = blockIdx.x / kChunks, column = blockIdx.x % kChunks * kColumns;
  const int first = blockIdx.y * (kSlabs * 16);
  const int rows = gemm::smaller(kSlabs * 16, p.tables.rows_total - first);
  load_weight_tile(p.kv_b, head * (kNope + kValue), column, weight);
  wait_for_previous();
  if (threadIdx.x < kSlabs * 16)
    rows_of[threadIdx.x] =
        static_cast<int>(threadIdx.x) < rows ? attending(p.tables, first + threadIdx.x).row : -1;
  __syncthreads();
  constexpr int kHeadWidth = kNope + kRope;
  // A row is `pairs` pairs: 64 of q_nope, and of the rope part for the first columns' block.
  for (int i = threadIdx.x; i < kSlabs * 16 * (kNope / 2); i += kThreads) {
    const int r = i / (kNope / 2), d = i % (kNope / 2) * 2;
    const float* q = p.q + int64_t{rows_of[r]} * p.q_stride + head * kHeadWidth + d;
    *reinterpret_cast<uint32_t*>(queries + r * kPitch + d) =
        rows_of[r] < 0 ? 0 : pack_bf16(q[0], q[1]);
  }
  if (column == 0)
    for (int i = threadIdx.x; i < rows * (kRope / 2); i += kThreads) {
      const int r = i / (kRope / 2), d = i % (kRope / 2) * 2;
      const float* q = p.q + int64_t{rows_of[r]} * p.q_stride + head * kHeadWidth + kNope + d;
      *reinterpret_cast<uint32_t*>(latents + (int64_t{first + r} * p.heads + head) * kWidth +
                                   kRank + d) = pack_bf16(q[0], q[1]);
    }
  __syncthreads();

  // A warp has 16 columns of all slabs.
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float sums[kSlabs][2][4] = {};
#pragma unroll
  for (int k = 0; k < kNope / 16; ++k) {
    uint32_t b[4];  // (depths 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15)
    load_matrices_transposed(b, gemm::shared_address(weight + (k * 16 + lane % 16) * kPitch +
                                                     warp * 16 + lane / 16 * 8));
#pragma unroll
    for (int s = 0; s < kSlabs; ++s) {
      uint32_t a[4];
      load_matrices(a, gemm::shared_address(queries + (s * 16 + lane % 16) * kPitch + k * 16 +
                                            lane / 16 * 8));
      multiply_16x8x16(sums[s][0], a, b[0], b[1]);
      multiply_16x8x16(sums[s][1], a, b[2], b[3]);
    }
  }
#pragma unroll
  for (int s = 0; s < kSlabs; ++s)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = s * 16 + half * 8 + lane / 4;
      if (r >= rows) continue;
      uint16_t* to = latents + (int64_t{first + r} * p.heads + head) * kWidth + column + warp * 16 +
                     lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < 2; ++n)
        *reinterpret_cast<uint32_t*>(to + n * 8) =
            pack_bf16(sums[s][n][half * 2], sums[s][n][half * 2 + 1]);
    }
}

template <int kSlabs>
void launch_for(CudaDevice& device, const MlaParams& p, const Plan& plan, uint16_t* latents) {
  const auto tiles = static_cast<unsigned>(ceil_div(p.tables.rows_total, kSlabs * 16));
  launch(device, "mla_absorbed: into latents", into_latents_kernel<kSlabs>,
         {dim3(static_cast<unsigned>(p.heads * kChunks), tiles + 1), dim3(kThreads),
          static_cast<size_t>(shared_bytes<kSlabs>())},
         p, plan, latents);
}

}  // namespace

bool can_multiply(const Weight& w) {
  const bool fp8 = w.dtype == DType::f8_e4m3;
  return (w.dtype == DType::bf16 || fp8) && reinterpret_cast<uintptr_t>(w.data) % 16 == 0 &&
         w.row_stride * dtype_bytes(w.dtype) % 16 == 0 && w.cols == kRank &&
         (!fp8 || (w.scale_row == 0 && w.scale_col == 0));
}

void into_latents(CudaDevice& device, const MlaParams& p, const Plan& plan, uint16_t* latents) {
  if (p.tables.rows_total <= 16)
    launch_for<1>(device, p, plan, latents);
  else
    launch_for<4>(device, p, plan, latents);
}

}  // namespace fathom::cuda::mla
