// How do sums of latents become outputs? The splits of a row are merged in ascending order and
// rounded to bf16 in shared memory; then per head [rows, 512] times the head's value rows of kv_b
// [128, 512]. A thread block takes a head and 16, 32 or 64 rows, as many as still leave a block for
// each SM; an element's operations and their order are the same for all of them.
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/mla/mma.cuh"
#include "kernels/cuda/mla/products.h"

namespace fathom::cuda::mla {
namespace {

constexpr int kThreads = 256;
constexpr int kPitch = kRank + 8;  // bf16 of a row in shared memory
constexpr int kRowThreads = kRank / 4;

struct Merge {
  const State* states;
  const float* sums;
  int heads, head;
};

// Four columns of one row: sum of w_s sums_s over sum of w_s sum_s, w_s = 2^(largest_s - largest).
__device__ __forceinline__ uint2 merged(const Merge& m, const RowItems& row, int column) {
  const State* states = m.states + int64_t{row.first} * m.heads + m.head;
  const float* sums = m.sums + (int64_t{row.first} * m.heads + m.head) * kRank + column;
  float largest = -INFINITY;
  for (int s = 0; s < row.count; ++s)
    largest = fmaxf(largest, states[int64_t{s} * m.heads].largest);
  float4 all = {0, 0, 0, 0};
  float sum = 0;
#pragma unroll 4
  for (int s = 0; s < row.count; ++s) {
    const State state = states[int64_t{s} * m.heads];
    const float4 some = *reinterpret_cast<const float4*>(sums + int64_t{s} * m.heads * kRank);
    const float weight = exp2f(state.largest - largest);
    sum = fmaf(weight, state.sum, sum);
    all.x = fmaf(weight, some.x, all.x);
    all.y = fmaf(weight, some.y, all.y);
    all.z = fmaf(weight, some.z, all.z);
    all.w = fmaf(weight, some.w, all.w);
  }
  const float share = row.count > 0 ? 1.0f / sum : 0.0f;
  return make_uint2(pack_bf16(all.x * share, all.y * share),
                    pack_bf16(all.z * share, all.w * share));
}

template <int kSlabs>
__global__ void __launch_bounds__(kThreads)
    out_of_latents_kernel(const MlaParams p, const Plan plan, int first, int rows,
                          const State* states, const float* sums) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto* latents = reinterpret_cast<uint16_t*>(memory);  // [kSlabs * 16, kPitch]
  __shared__ int row_of[kSlabs * 16];
  const int head = blockIdx.x, begin = blockIdx.y * (kSlabs * 16);
  const int weight_row = head * (kNope + kValue) + kNope;
  // The head's value rows, into L2: 512 values, a line of 128 bytes at a time.
  {
    const int64_t bytes = p.kv_b.dtype == DType::bf16 ? 2 : 1;
    const int lines = static_cast<int>(kRank * bytes / 128);
    for (int i = threadIdx.x; i < kValue * lines; i += kThreads)
      asm volatile("prefetch.global.L2 [%0];" ::"l"(
          static_cast<const char*>(p.kv_b.data) +
          (weight_row + i / lines) * p.kv_b.row_stride * bytes + i % lines * 128));
  }
  wait_for_previous();
  const Merge merge = {states, sums, p.heads, head};
  for (int r = threadIdx.x / kRowThreads; r < kSlabs * 16; r += kThreads / kRowThreads) {
    const int column = threadIdx.x % kRowThreads * 4;
    const bool mine = begin + r < rows;
    const RowItems row = mine ? load_row(plan.rows, first + begin + r) : RowItems{};
    *reinterpret_cast<uint2*>(latents + r * kPitch + column) = merged(merge, row, column);
    if (column == 0) row_of[r] = mine ? row.row : -1;
  }
  __syncthreads();

  // A warp has 16 outputs of all slabs. Depths within 32 change places, for both operands alike, so
  // that a lane loads eight neighbours at a time: lane c of four has depths 8c .. 8c + 7.
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, c = lane % 4;
  float out[kSlabs][2][4] = {};
#pragma unroll 4
  for (int k = 0; k < kRank / 32; ++k) {
    const float scale = scale_of(p.kv_b, weight_row, k * 32);
    uint4 b[2];
#pragma unroll
    for (int n = 0; n < 2; ++n)
      b[n] = load_eight(
          p.kv_b, (weight_row + warp * 16 + n * 8 + g) * p.kv_b.row_stride + k * 32 + c * 8, scale);
#pragma unroll
    for (int s = 0; s < kSlabs; ++s) {
      const uint16_t* from = latents + (s * 16 + g) * kPitch + k * 32 + c * 8;
      const uint4 top = *reinterpret_cast<const uint4*>(from);
      const uint4 bottom = *reinterpret_cast<const uint4*>(from + 8 * kPitch);
      const uint32_t even[4] = {top.x, bottom.x, top.y, bottom.y};
      const uint32_t odd[4] = {top.z, bottom.z, top.w, bottom.w};
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        multiply_16x8x16(out[s][n], even, b[n].x, b[n].y);
        multiply_16x8x16(out[s][n], odd, b[n].z, b[n].w);
      }
    }
  }
#pragma unroll
  for (int s = 0; s < kSlabs; ++s)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = row_of[s * 16 + half * 8 + g];
      if (row < 0) continue;
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          store(p.out, p.out_dtype,
                int64_t{row} * p.out_stride + head * kValue + warp * 16 + n * 8 + c * 2 + i,
                out[s][n][half * 2 + i]);
    }
}

template <int kSlabs>
void launch_for(CudaDevice& device, const MlaParams& p, const Plan& plan, int first, int rows,
                const State* states, const float* sums) {
  const auto tiles = static_cast<unsigned>(ceil_div(rows, kSlabs * 16));
  launch(device, "mla_absorbed: out of latents", out_of_latents_kernel<kSlabs>,
         {dim3(static_cast<unsigned>(p.heads), tiles), dim3(kThreads),
          static_cast<size_t>(kSlabs * 16 * kPitch * 2)},
         p, plan, first, rows, states, sums);
}

}  // namespace

void out_of_latents(CudaDevice& device, const MlaParams& p, const Plan& plan, int first, int rows,
                    const State* states, const float* sums) {
  const auto blocks = [&](int slab_rows) { return p.heads * ceil_div(rows, slab_rows); };
  const int fill = device.multiprocessors();
  if (rows > 32 && blocks(64) >= fill)
    launch_for<4>(device, p, plan, first, rows, states, sums);
  else if (rows > 16 && blocks(32) >= fill)
    launch_for<2>(device, p, plan, first, rows, states, sums);
  else
    launch_for<1>(device, p, plan, first, rows, states, sums);
}

}  // namespace fathom::cuda::mla
