// How do tokens pass through their experts in float32, whatever the shape and type of the weights?
// A block multiplies up to 64 rows of one expert by 64 rows of weights, 32 columns at a time; every
// sum is one chain of multiply-adds over ascending columns, so no bit depends on the other rows.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/experts/passes.h"
#include "kernels/cuda/quantise.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kRows = 64;  // of an expert, at most: RowRun of the plan
constexpr int kOuts = 64;  // rows of weights
constexpr int kStep = 32;  // columns
constexpr int kThreads = 128;
constexpr int kPitch = kOuts + 4;  // floats between two columns in shared memory
constexpr int kChunk = 16;         // columns that one thread brings, of one row

struct Pass {
  ExpertMatrix a, b;  // gate and up, or down twice
  ExpertPlan plan;
  int32_t experts = 0;
  const void* x = nullptr;
  DType x_dtype = DType::f32;
  int64_t x_stride = 0;
  int32_t chosen = 0;   // x has rows of tokens; 0: rows of pairs
  bool x_wide = false;  // 16-byte loads are aligned
  float* out = nullptr;
  int32_t out_width = 0;
};

// Gate and up: four neighbouring outputs are rows (i, i + 1) of gate, then of up, so the thread
// that sums them has both halves of two results.
template <bool kPair>
struct Panel {
  static constexpr int kWidth = kPair ? kOuts / 2 : kOuts;  // results of a block
  __device__ static bool second(int out) { return kPair && out % 4 >= 2; }
  __device__ static int32_t row(int32_t panel, int out) {
    return panel * kWidth + (kPair ? out / 4 * 2 + out % 2 : out);
  }
};

// kChunk values of one row as they are stored, and the scales of the one or two blocks they lie in.
template <DType kType>
struct Chunk {
  static constexpr int kBytes = dtype_bytes(kType);
  uint4 raw[kBytes];
  float scale, next_scale;
  int32_t scaled;  // values before the next block

  __device__ __forceinline__ void fetch(const Weight& w, const uint8_t* data, const float* scales,
                                        int32_t row, int32_t column) {
    constexpr int kInPiece = 16 / kBytes;
    const uint8_t* at = data + (row * w.row_stride + column) * kBytes;
#pragma unroll
    for (int i = 0; i < kBytes; ++i)
      raw[i] = column + i * kInPiece < w.cols ? *reinterpret_cast<const uint4*>(at + i * 16)
                                              : uint4{0, 0, 0, 0};
    if constexpr (kType == DType::f8_e4m3) {
      if (column >= w.cols) return;
      const float* of_row = scales + (row + w.scale_row) / kScaleBlock * w.scale_stride;
      const int32_t begin = column + w.scale_col;
      const int32_t last = min(column + kChunk, w.cols) - 1 + w.scale_col;
      scale = of_row[begin / kScaleBlock];
      next_scale = of_row[last / kScaleBlock];
      scaled = kScaleBlock - begin % kScaleBlock;
    }
  }
  __device__ __forceinline__ float value(int i) const {
    const uint4& piece = raw[i * kBytes / 16];
    const uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
    const uint32_t word = words[i * kBytes % 16 / 4];
    if constexpr (kType == DType::f32) {
      return __uint_as_float(word);
    } else if constexpr (kType == DType::f8_e4m3) {
      return widen_e4m3(static_cast<uint8_t>(word >> i % 4 * 8)) *
             (i < scaled ? scale : next_scale);
    } else {
      const auto half = static_cast<uint16_t>(word >> i % 2 * 16);
      return kType == DType::bf16 ? widen_bf16(half) : __half2float(__ushort_as_half(half));
    }
  }
};

// A column is kPitch floats; this thread brings columns [16 * (thread % 2), + 16) of one row.
struct Tiles {
  alignas(16) float x[kStep * kPitch];
  alignas(16) float w[kStep * kPitch];
};

__device__ __forceinline__ void fetch_x(const Pass& p, int64_t row, bool there, int32_t column,
                                        int32_t columns, float (&to)[kChunk]) {
  const int64_t at = row * p.x_stride + column;
  if (there && p.x_wide && p.x_dtype == DType::f32 && column + kChunk <= columns) {
#pragma unroll
    for (int i = 0; i < kChunk; i += 4) {
      const float4 v = *reinterpret_cast<const float4*>(static_cast<const float*>(p.x) + at + i);
      to[i] = v.x;
      to[i + 1] = v.y;
      to[i + 2] = v.z;
      to[i + 3] = v.w;
    }
    return;
  }
  if (there && p.x_wide && p.x_dtype == DType::bf16 && column + kChunk <= columns) {
    const auto* x = reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(p.x) + at);
    const uint4 low = x[0], high = x[1];
    const uint32_t words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < kChunk; ++i)
      to[i] = widen_bf16(static_cast<uint16_t>(words[i / 2] >> i % 2 * 16));
    return;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i)
    to[i] = there && column + i < columns ? load(p.x, p.x_dtype, at + i) : 0.0f;
}

// acc[i][j] of row 8 i + row, output 4 * quad + j.
template <int kBlocks>
__device__ __forceinline__ void multiply(const Tiles& t, int row, int quad, float (&acc)[8][4]) {
#pragma unroll 8
  for (int k = 0; k < kStep; ++k) {
    const float4 w = *reinterpret_cast<const float4*>(t.w + k * kPitch + quad * 4);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const float x = t.x[k * kPitch + i * 8 + row];
      acc[i][0] = fmaf(x, w.x, acc[i][0]);
      acc[i][1] = fmaf(x, w.y, acc[i][1]);
      acc[i][2] = fmaf(x, w.z, acc[i][2]);
      acc[i][3] = fmaf(x, w.w, acc[i][3]);
    }
  }
}

// Blocks (panel, tile); those beyond the tiles there are leave. kWide: weights by 16 aligned bytes.
template <DType kType, bool kPair, bool kWide>
__global__ void __launch_bounds__(kThreads) pass(const __grid_constant__ Pass p) {
  __shared__ Tiles t;
  wait_for_previous();
  const auto tile = static_cast<int32_t>(blockIdx.y), panel = static_cast<int32_t>(blockIdx.x);
  if (tile >= p.plan.tile_begin[p.experts]) return;
  const int32_t expert = expert_of(p.plan.tile_begin, p.experts, tile);
  const int32_t begin = p.plan.begin[expert], rows = p.plan.begin[expert + 1] - begin;
  const RowRun run = run_of(rows, kRows, tile - p.plan.tile_begin[expert]);
  const int32_t first_row = begin + run.first;

  // What this thread brings.
  const int mine = threadIdx.x / 2, mine_column = static_cast<int>(threadIdx.x) % 2 * kChunk;
  const ExpertMatrix& matrix = Panel<kPair>::second(mine) ? p.b : p.a;
  Weight w = matrix.first;
  const auto* data = static_cast<const uint8_t*>(w.data) + expert * matrix.data_step;
  w.data = data;
  const float* scales = w.scale + expert * matrix.scale_step;
  w.scale = scales;
  const int32_t weight_row = Panel<kPair>::row(panel, mine);
  const bool has_weight = weight_row < w.rows, has_x = mine < run.count;
  int64_t x_row = first_row + mine;
  if (has_x && p.chosen > 0) x_row = p.plan.pair[x_row] / p.chosen;

  Chunk<kType> chunk;
  float x[kChunk];
  const auto fetch = [&](int32_t column) {
    if constexpr (kWide) {
      if (has_weight) chunk.fetch(w, data, scales, weight_row, column);
    }
    fetch_x(p, x_row, has_x, column, w.cols, x);
  };
  const auto keep = [&](int32_t column) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      const bool there = has_weight && column + i < w.cols;
      float value = 0;
      if constexpr (kWide)
        value = there ? chunk.value(i) : 0.0f;
      else
        value = there ? load_weight(w, weight_row, column + i) : 0.0f;
      t.w[(mine_column + i) * kPitch + mine] = value;
      t.x[(mine_column + i) * kPitch + mine] = x[i];
    }
  };

  const int quad = threadIdx.x % 16, row = threadIdx.x / 16;
  float acc[8][4] = {};
  fetch(mine_column);
  for (int32_t column = 0; column < w.cols; column += kStep) {
    keep(column + mine_column);
    __syncthreads();
    if (column + kStep < w.cols) fetch(column + kStep + mine_column);
    if (run.count <= 8)
      multiply<1>(t, row, quad, acc);
    else if (run.count <= 16)
      multiply<2>(t, row, quad, acc);
    else if (run.count <= 32)
      multiply<4>(t, row, quad, acc);
    else
      multiply<8>(t, row, quad, acc);
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i * 8 + row >= run.count) continue;
    float* out = p.out + int64_t{first_row + i * 8 + row} * p.out_width;
    constexpr int kEach = kPair ? 2 : 4;
    const int32_t at = panel * Panel<kPair>::kWidth + quad * kEach;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const float gate = acc[i][j], up = acc[i][(j + 2) % 4];
      if (at + j < p.out_width) out[at + j] = kPair ? gated(gate, up) : gate;
    }
  }
}

bool wide(const ExpertMatrix& m) {
  return reinterpret_cast<uintptr_t>(m.first.data) % 16 == 0 && m.data_step % 16 == 0 &&
         m.first.row_stride * dtype_bytes(m.first.dtype) % 16 == 0;
}

template <DType kType, bool kPair>
void start(const OpContext& ctx, const ExpertsParams& e, const Pass& p) {
  const int64_t tiles = tiles_bound(int64_t{e.rows} * e.chosen, p.experts, kRows);
  const Launch at{{static_cast<unsigned>(ceil_div(p.out_width, Panel<kPair>::kWidth)),
                   static_cast<unsigned>(tiles)},
                  kThreads};
  if (wide(p.a) && wide(p.b))
    launch(device_of(ctx), "experts", pass<kType, kPair, true>, at, p);
  else
    launch(device_of(ctx), "experts", pass<kType, kPair, false>, at, p);
}

template <bool kPair>
void start(const OpContext& ctx, const ExpertsParams& e, const Pass& p) {
  switch (p.a.first.dtype) {
    case DType::f32:
      return start<DType::f32, kPair>(ctx, e, p);
    case DType::bf16:
      return start<DType::bf16, kPair>(ctx, e, p);
    case DType::f16:
      return start<DType::f16, kPair>(ctx, e, p);
    case DType::f8_e4m3:
      return start<DType::f8_e4m3, kPair>(ctx, e, p);
    default:
      device_of(ctx).check(cudaErrorInvalidValue, "experts");
  }
}

}  // namespace

void experts_exact(const OpContext& ctx, const ExpertsParams& given, bool quantised) {
  ExpertsParams p = given;
  const ExpertMatrices m = matrices_of(p);
  if (quantised) {
    const auto values = static_cast<size_t>(p.rows) * static_cast<size_t>(m.hidden);
    float* x = ctx.scratch->take_span<float>(values).data();
    quantise_in_float(ctx, "experts", {p.x, p.x_dtype, p.x_stride, p.rows, m.hidden}, x);
    p.x = x;
    p.x_dtype = DType::f32;
    p.x_stride = m.hidden;
  }
  const ExpertPlan plan = plan_experts(ctx, p, kRows);
  const int64_t pairs = int64_t{p.rows} * p.chosen;
  float* middle = ctx.scratch->take_span<float>(static_cast<size_t>(pairs * m.width)).data();
  float* y = ctx.scratch->take_span<float>(static_cast<size_t>(pairs * m.hidden)).data();
  start<true>(ctx, p,
              {.a = m.gate,
               .b = m.up,
               .plan = plan,
               .experts = m.experts,
               .x = p.x,
               .x_dtype = p.x_dtype,
               .x_stride = p.x_stride,
               .chosen = p.chosen,
               .x_wide = reinterpret_cast<uintptr_t>(p.x) % 16 == 0 &&
                         p.x_stride * dtype_bytes(p.x_dtype) % 16 == 0,
               .out = middle,
               .out_width = m.width});
  if (quantised)
    quantise_in_float(ctx, "experts",
                      {middle, DType::f32, m.width, static_cast<int32_t>(pairs), m.width}, middle);
  start<false>(ctx, p,
               {.a = m.down,
                .b = m.down,
                .plan = plan,
                .experts = m.experts,
                .x = middle,
                .x_stride = m.width,
                .x_wide = m.width % 4 == 0,
                .out = y,
                .out_width = m.hidden});
  add_in_slot_order(ctx, p, plan, y);
}

}  // namespace fathom::cuda
