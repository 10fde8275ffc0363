// How are the rows of all experts multiplied by their weights on tensor cores? Thread blocks walk over
// units (plan.h): 128 rows of one expert's weights times a tile of its tokens. One warp keeps a ring
// of shared-memory stages full by TMA; two warpgroups decode weights into registers and multiply. The
// weights are operand A, so few tokens waste nothing; the tile is as wide as its tokens need, and
// an output's operations and their order are the same for every width.
//
// A thread has a first and a second row of weights in eight-row groups: gate and up of one result, or
// two rows of down. e4m3: the float32 sum of 128 columns is scaled by the block's scale and added.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/experts/order.h"
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::grouped {

using namespace gemm;

inline constexpr int kHalfRows = 64;  // of weights, that one copy brings; a unit has two
inline constexpr int kThreads = 3 * 128;  // the last warpgroup feeds, with one thread
inline constexpr int kWidths = 5;  // of tiles: 8, 16, 32, 64, 128 tokens

struct Maps {
  CUtensorMap weights;          // [experts * rows, columns]
  CUtensorMap tokens[kWidths];  // [pairs, columns], boxes of 8 << i rows
};

struct Work {
  ExpertPlan plan;
  int32_t experts = 0, most = 0;
  int32_t panels = 0;             // of an expert
  int32_t panel_rows = 0;         // of weights, from one panel to the next: 64 or 128
  int32_t rows = 0;               // of weights, from one expert to the next
  int32_t second = 0;             // from the first 64 rows of a unit to the second
  int32_t columns = 0;
  const float* scale = nullptr;         // of the first expert's first rows
  const float* second_scale = nullptr;  // and of the second ones
  int64_t scale_step = 0, scale_stride = 0;  // from expert to expert, row to row of blocks
  void* out = nullptr;
  int32_t out_width = 0;
};

template <bool kE4m3_, bool kGateUp_, int kMost_>
struct Shape {
  static constexpr bool kE4m3 = kE4m3_, kGateUp = kGateUp_;
  static constexpr int kMost = kMost_;                 // tokens of a tile
  static constexpr int kPieces = kE4m3 ? 2 : 1;        // of 64 columns, in a stage
  static constexpr int kDepth = kPieces * 64;          // columns
  static constexpr int kWeightBytes = 2 * kHalfRows * 128;
  static constexpr int kStageBytes = kWeightBytes + kPieces * kMost * 128;
  static constexpr int kStages = 216 * 1024 / kStageBytes < 12 ? 216 * 1024 / kStageBytes : 12;
  static constexpr size_t shared(int32_t experts) {
    return 1024 + size_t{kStages} * (kStageBytes + 16) + size_t{2} * (experts + 1) * 4;
  }
};

template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <class S>
struct Ring {
  uint32_t base;
  __device__ uint32_t stage(int s) const { return base + s * S::kStageBytes; }
  __device__ uint32_t filled(int s) const { return base + S::kStages * S::kStageBytes + s * 8; }
  __device__ uint32_t freed(int s) const { return filled(s) + S::kStages * 8; }
};

struct Unit {
  int32_t expert, panel;
  int32_t row;    // the first token's, among all experts'
  int32_t count;  // tokens
};
__device__ __forceinline__ Unit unit_at(const Work& w, const int32_t* begin,
                                        const int32_t* tile_begin, int64_t index) {
  const ExpertUnit u = unit_of(tile_begin, w.experts, w.panels, index);
  const RowRun run = run_of(begin[u.expert + 1] - begin[u.expert], w.most, u.tile);
  return {u.expert, u.panel, begin[u.expert] + run.first, run.count};
}
__device__ __forceinline__ int width_class(int count) {
  return count <= 8 ? 0 : count <= 16 ? 1 : count <= 32 ? 2 : count <= 64 ? 3 : 4;
}

template <class S>
__device__ __forceinline__ void feed(const Ring<S>& ring, const Maps& maps, const Work& w,
                                     const int32_t* begin, const int32_t* tile_begin) {
  const int64_t units = int64_t{tile_begin[w.experts]} * w.panels;
  const int steps = (w.columns + S::kDepth - 1) / S::kDepth;
  Turn<S::kStages> turn;
  for (int64_t index = blockIdx.x; index < units; index += gridDim.x) {
    const Unit u = unit_at(w, begin, tile_begin, index);
    const int width = width_class(u.count);
    const int row = u.expert * w.rows + u.panel * w.panel_rows;
    const uint32_t bytes = S::kWeightBytes + S::kPieces * (8 << width) * 128;
    for (int step = 0; step < steps; ++step, turn.next()) {
      const uint32_t to = ring.stage(turn.stage), full = ring.filled(turn.stage);
      const int column = step * S::kDepth;
      barrier_wait(ring.freed(turn.stage), turn.parity ^ 1);
      barrier_expect(full, bytes);
      copy_box(to, maps.weights, full, column, row);
      copy_box(to + kHalfRows * 128, maps.weights, full, column, row + w.second);
#pragma unroll
      for (int piece = 0; piece < S::kPieces; ++piece)
        copy_box(to + S::kWeightBytes + piece * (8 << width) * 128, maps.tokens[width], full,
                 column + piece * 64, u.row);
    }
  }
}

__device__ __forceinline__ uint4 load_shared(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}

// Bytes 1 and 3 of a word as two bf16 times 2^-120, exactly.
__device__ __forceinline__ uint32_t decode_odd(uint32_t word) {
  return (word & 0x80008000u) | ((word >> 4) & 0x07F007F0u);
}

// 64 rows x 64 columns of weights as operand A of four products.
struct Operand {
  uint32_t a[4][4];
};

// What a thread fetches: its first row in a stage, the second `apart` bytes behind.
struct Place {
  uint32_t row;
  int turn;  // row % 8: pieces of 16 bytes change places by it
};
template <class S>
__device__ __forceinline__ Place place_in_stage() {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int row = 0;
  if constexpr (S::kGateUp)  // eight results that stand side by side in the next product's order
    row = column_at(warp * 8 + lane / 4, S::kE4m3);
  else
    row = warp * 16 + row_of_eight(lane, S::kE4m3);
  return {static_cast<uint32_t>(row * 128), row % 8};
}

template <class S>
__device__ __forceinline__ void fetch(uint32_t stage, const Place& place, int piece, Operand& out) {
  constexpr int kApart = S::kGateUp ? kHalfRows * 128 : 8 * 128;
  const int thread = threadIdx.x % 4;
  const uint32_t row = stage + place.row;
  if constexpr (S::kE4m3) {
    const uint32_t at = row + ((piece * 4 + thread) ^ place.turn) * 16;
    const uint4 first = load_shared(at), second = load_shared(at + kApart);
    const uint32_t firsts[4] = {first.x, first.y, first.z, first.w};
    const uint32_t seconds[4] = {second.x, second.y, second.z, second.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out.a[i][0] = decode_odd(firsts[i] << 8);
      out.a[i][1] = decode_odd(seconds[i] << 8);
      out.a[i][2] = decode_odd(firsts[i]);
      out.a[i][3] = decode_odd(seconds[i]);
    }
  } else {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const uint32_t at = row + ((thread * 2 + part) ^ place.turn) * 16;
      const uint4 first = load_shared(at), second = load_shared(at + kApart);
      const uint32_t firsts[4] = {first.x, first.y, first.z, first.w};
      const uint32_t seconds[4] = {second.x, second.y, second.z, second.w};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        out.a[part * 2 + i][0] = firsts[i * 2];
        out.a[part * 2 + i][1] = seconds[i * 2];
        out.a[part * 2 + i][2] = firsts[i * 2 + 1];
        out.a[part * 2 + i][3] = seconds[i * 2 + 1];
      }
    }
  }
}

template <int kTokens>
__device__ __forceinline__ void multiply(const Operand& weights, uint32_t tokens, bool add,
                                         float (&sums)[kTokens / 2]) {
  warpgroup_begin();
#pragma unroll
  for (int i = 0; i < 4; ++i)
    Product<kTokens>::rb(sums, weights.a[i], rows_at(tokens) + i * kSixteenDeeper, add || i > 0);
  warpgroup_commit();
}

template <class S>
__device__ __forceinline__ void release(const Ring<S>& ring, int stage) {
  if (threadIdx.x % 32 == 0) barrier_arrive(ring.freed(stage));
}

// Sums over all columns, e4m3; scales of the first and the second rows, one for each stage.
template <class S, int kTokens>
__device__ __forceinline__ void sum_e4m3(const Ring<S>& ring, Turn<S::kStages>& turn, int steps,
                                         const Place& place, const float* scale,
                                         const float* second_scale, float (&acc)[kTokens / 2]) {
  Operand low, high;
  float part[kTokens / 2];
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) acc[i] = 0;
  barrier_wait(ring.filled(turn.stage), turn.parity);
  fetch<S>(ring.stage(turn.stage), place, 0, low);
  for (int step = 0; step < steps; ++step) {
    const int stage = turn.stage;
    const uint32_t tokens = ring.stage(stage) + S::kWeightBytes;
    const float factor = __ldg(scale + step) * kScaleFactor;
    const float second_factor = __ldg(second_scale + step) * kScaleFactor;
    multiply<kTokens>(low, tokens, false, part);
    fetch<S>(ring.stage(stage), place, 1, high);
    multiply<kTokens>(high, tokens + kTokens * 128, true, part);
    turn.next();
    if (step + 1 < steps) {
      barrier_wait(ring.filled(turn.stage), turn.parity);
      warpgroup_wait<1>();
      fetch<S>(ring.stage(turn.stage), place, 0, low);
    }
    warpgroup_wait<0>();
    release(ring, stage);
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i)
      acc[i] = fmaf(i / 2 % 2 == 0 ? factor : second_factor, part[i], acc[i]);
  }
}

// bf16: one chain through all columns. While one warpgroup fetches, the other multiplies.
template <class S, int kTokens>
__device__ __forceinline__ void sum_bf16(const Ring<S>& ring, Turn<S::kStages>& turn, int steps,
                                         const Place& place, float (&acc)[kTokens / 2]) {
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) acc[i] = 0;
  for (int step = 0; step < steps; ++step, turn.next()) {
    Operand weights;
    barrier_wait(ring.filled(turn.stage), turn.parity);
    fetch<S>(ring.stage(turn.stage), place, 0, weights);
    multiply<kTokens>(weights, ring.stage(turn.stage) + S::kWeightBytes, true, acc);
    warpgroup_wait<0>();
    release(ring, turn.stage);
  }
}

// Accumulator i: token i / 4 * 8 + lane % 4 * 2 + i % 2; the second row when i / 2 is odd.
template <class S, int kTokens>
__device__ __forceinline__ void finish(const Work& w, const Unit& u,
                                       const float (&acc)[kTokens / 2]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < kTokens / 2; i += 4)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int token = i * 2 + lane % 4 * 2 + j;
      if (token >= u.count) continue;
      const int64_t row = int64_t{u.row + token} * w.out_width;
      const float first = acc[i + j], second = acc[i + 2 + j];
      if constexpr (S::kGateUp) {
        const float result = first / (1.0f + expf(-first)) * second;
        static_cast<uint16_t*>(w.out)[row + u.panel * kHalfRows + warp * 8 + lane / 4] =
            narrow_bf16(S::kE4m3 ? result * kActivationFactor : result);
      } else {
        const int at = u.panel * 2 * kHalfRows + warp * 16 + row_of_eight(lane, S::kE4m3);
        float* out = static_cast<float*>(w.out) + row;
        if (at < w.out_width) out[at] = first;
        if (at + 8 < w.out_width) out[at + 8] = second;
      }
    }
}

template <class S, int kTokens>
__device__ __forceinline__ void compute(const Ring<S>& ring, Turn<S::kStages>& turn,
                                        const Place& place, const Work& w, const Unit& u) {
  const int steps = (w.columns + S::kDepth - 1) / S::kDepth;
  float acc[kTokens / 2];
  if constexpr (S::kE4m3) {
    const int64_t at = u.expert * w.scale_step + u.panel * w.panel_rows / kScaleBlock * w.scale_stride;
    sum_e4m3<S, kTokens>(ring, turn, steps, place, w.scale + at, w.second_scale + at, acc);
  } else {
    sum_bf16<S, kTokens>(ring, turn, steps, place, acc);
  }
  finish<S, kTokens>(w, u, acc);
}

template <class S>
__global__ void __launch_bounds__(kThreads, 1)
    multiply_groups(const __grid_constant__ Maps maps, const __grid_constant__ Work w) {
  extern __shared__ uint8_t memory[];
  const uint32_t start = shared_address(memory);
  const Ring<S> ring{(start + 1023) / 1024 * 1024};
  auto* begin = reinterpret_cast<int32_t*>(memory + (ring.freed(S::kStages) - start));
  int32_t* tile_begin = begin + w.experts + 1;
  if (threadIdx.x == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      barrier_init(ring.filled(s), 1);
      barrier_init(ring.freed(s), 8);  // warps
    }
    barrier_init_done();
  }
  wait_for_previous();
  for (int e = threadIdx.x; e <= w.experts; e += kThreads) {
    begin[e] = w.plan.begin[e];
    tile_begin[e] = w.plan.tile_begin[e];
  }
  __syncthreads();
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 256) feed<S>(ring, maps, w, begin, tile_begin);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const Place place = place_in_stage<S>();
    const int64_t units = int64_t{tile_begin[w.experts]} * w.panels;
    Turn<S::kStages> turn;
    for (int64_t index = blockIdx.x; index < units; index += gridDim.x) {
      const Unit u = unit_at(w, begin, tile_begin, index);
      const int width = width_class(u.count);
      if (width == 0)
        compute<S, 8>(ring, turn, place, w, u);
      else if (width == 1)
        compute<S, 16>(ring, turn, place, w, u);
      else if (width == 2)
        compute<S, 32>(ring, turn, place, w, u);
      if constexpr (S::kMost > 32) {
        if (width == 3)
          compute<S, 64>(ring, turn, place, w, u);
        else if (width == 4)
          compute<S, 128>(ring, turn, place, w, u);
      }
    }
  }
}

}  // namespace fathom::cuda::grouped
