// How are the rows of all experts multiplied by their weights on tensor cores? Pairs of thread
// blocks walk over units (plan.h): each block takes 128 rows of one expert's weights times the same
// tile of its tokens. One thread keeps a ring of weights in shared memory full by TMA, another one
// a ring of tokens; two warpgroups decode weights into registers and multiply. The weights are
// operand A, so few tokens waste nothing; the tile is as wide as its tokens need, and an output's
// operations and their order are the same for every width. Each block of a pair fetches half of the
// tokens for both: what passes from L2 to the multiprocessors (27 bytes a clock each, measured) is
// the limit from 16 tokens on.
//
// A thread has a first and a second row of weights in eight-row groups: gate and up of one result,
// or two rows of down. e4m3: the float32 sum of 128 columns is scaled by the block's scale and
// added.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/experts/order.h"
#include "kernels/cuda/experts/widths.cuh"
#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"

namespace fathom::cuda::grouped {

using namespace gemm;

inline constexpr int kHalfRows = 64;      // of weights, that one copy brings; a unit has two
inline constexpr int kThreads = 3 * 128;  // two threads of the last warpgroup feed

struct Maps {
  CUtensorMap weights;          // [experts * rows, columns]
  CUtensorMap tokens[kWidths];  // [pairs, columns], boxes of width_of(i) rows
};

struct Work {
  ExpertPlan plan;
  int32_t experts = 0, most = 0;
  int32_t panels = 0;      // of an expert
  int32_t panel_rows = 0;  // of weights, from one panel to the next: 64 or 128
  int32_t rows = 0;        // of weights, from one expert to the next
  int32_t second = 0;      // from the first 64 rows of a unit to the second
  int32_t columns = 0;
  const float* scale = nullptr;              // of the first expert's first rows
  const float* second_scale = nullptr;       // and of the second ones
  int64_t scale_step = 0, scale_stride = 0;  // from expert to expert, row to row of blocks
  void* out = nullptr;
  int32_t out_width = 0;
};

template <bool kE4m3_, bool kGateUp_, int kMost_, int kPair_>
struct Shape {
  static constexpr bool kE4m3 = kE4m3_, kGateUp = kGateUp_;
  static constexpr int kPair = kPair_;           // blocks that share tokens: a cluster
  static constexpr int kMost = kMost_;           // tokens of a tile
  static constexpr int kPieces = kE4m3 ? 2 : 1;  // of 64 columns, in a stage
  static constexpr int kDepth = kPieces * 64;    // columns
  static constexpr int kWeightBytes = 2 * kHalfRows * 128;
  static constexpr int kTokenBytes = kPieces * kMost * 128;
  // Weights come from memory and need most on their way; tokens come from L2.
  static constexpr int kTokenStages = kTokenBytes > 16 * 1024 ? 3 : 4;
  static constexpr int kStages = (212 * 1024 - kTokenStages * kTokenBytes) / kWeightBytes;
  static constexpr int kBytes = kStages * kWeightBytes + kTokenStages * kTokenBytes;
  static constexpr int kBarriers = 2 * (kStages + kTokenStages);
  static constexpr size_t shared(int32_t experts) {
    return 1024 + kBytes + kStages * 16 + kBarriers * 8 + (static_cast<size_t>(experts) + 1) * 8;
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

// A unit's part of one block. The feeding thread writes it beside the unit's first stage.
struct alignas(16) Unit {
  int32_t expert, panel;
  int32_t row;    // the first token's, among all experts'
  int32_t count;  // tokens; 0: there are no more units
};

// The two rings: what is filled and what may be filled again.
template <class S>
struct Rings {
  uint32_t base;
  Unit* units;
  __device__ uint32_t weights(int s) const { return base + s * S::kWeightBytes; }
  __device__ uint32_t tokens(int s) const {
    return base + S::kStages * S::kWeightBytes + s * S::kTokenBytes;
  }
  __device__ uint32_t filled(int s) const { return base + S::kBytes + s * 8; }
  __device__ uint32_t freed(int s) const { return filled(S::kStages + s); }
  __device__ uint32_t tokens_filled(int s) const { return filled(2 * S::kStages + s); }
  __device__ uint32_t tokens_freed(int s) const { return tokens_filled(S::kTokenStages + s); }
};
template <class S>
struct Turns {
  Turn<S::kStages> weights;
  Turn<S::kTokenStages> tokens;
};

// Calls use(unit) for every unit of this block, in order.
template <class S, class Use>
__device__ __forceinline__ void each_unit(const Work& w, const int32_t* begin,
                                          const int32_t* tile_begin, int rank, Use&& use) {
  const int32_t panels = (w.panels + S::kPair - 1) / S::kPair;
  const int64_t units = int64_t{tile_begin[w.experts]} * panels;
  for (int64_t index = blockIdx.x / S::kPair; index < units; index += gridDim.x / S::kPair) {
    const ExpertUnit unit = unit_of(tile_begin, w.experts, panels, index);
    const RowRun run = run_of(begin[unit.expert + 1] - begin[unit.expert], w.most, unit.tile);
    use(Unit{unit.expert, unit.panel * S::kPair + rank, begin[unit.expert] + run.first, run.count});
  }
}

template <class S>
__device__ __forceinline__ void feed_weights(const Rings<S>& rings, const Maps& maps, const Work& w,
                                             const int32_t* begin, const int32_t* tile_begin,
                                             int rank) {
  const int steps = (w.columns + S::kDepth - 1) / S::kDepth;
  Turn<S::kStages> turn;
  each_unit<S>(w, begin, tile_begin, rank, [&](const Unit& u) {
    const int row = u.expert * w.rows + u.panel * w.panel_rows;
    for (int step = 0; step < steps; ++step, turn.next()) {
      const uint32_t to = rings.weights(turn.stage), filled = rings.filled(turn.stage);
      barrier_wait(rings.freed(turn.stage), turn.parity ^ 1);
      if (step == 0) rings.units[turn.stage] = u;
      barrier_expect(filled, S::kWeightBytes);
      copy_box(to, maps.weights, filled, step * S::kDepth, row);
      copy_box(to + kHalfRows * 128, maps.weights, filled, step * S::kDepth, row + w.second);
    }
  });
  barrier_wait(rings.freed(turn.stage), turn.parity ^ 1);
  rings.units[turn.stage] = Unit{};
  barrier_arrive(rings.filled(turn.stage));
}

// Of a pair each block brings one of two pieces for both, or every other single piece.
template <class S>
__device__ __forceinline__ void feed_tokens(const Rings<S>& rings, const Maps& maps, const Work& w,
                                            const int32_t* begin, const int32_t* tile_begin,
                                            int rank) {
  constexpr uint16_t kBoth = 3;
  const int steps = (w.columns + S::kDepth - 1) / S::kDepth;
  Turn<S::kTokenStages> turn;
  each_unit<S>(w, begin, tile_begin, rank, [&](const Unit& u) {
    const int width = width_index(u.count), bytes = width_of(width) * 128;
    const CUtensorMap& map = maps.tokens[width];
    for (int step = 0; step < steps; ++step, turn.next()) {
      const uint32_t to = rings.tokens(turn.stage), filled = rings.tokens_filled(turn.stage);
      const int column = step * S::kDepth;
      barrier_wait(rings.tokens_freed(turn.stage), turn.parity ^ 1);
      barrier_expect(filled, S::kPieces * bytes);
      if constexpr (S::kPair == 1) {
#pragma unroll
        for (int piece = 0; piece < S::kPieces; ++piece)
          copy_box(to + piece * bytes, map, filled, column + piece * 64, u.row);
      } else if constexpr (S::kPieces == 2) {
        copy_box_to(kBoth, to + rank * bytes, map, filled, column + rank * 64, u.row);
      } else {
        if (step % 2 == rank) copy_box_to(kBoth, to, map, filled, column, u.row);
      }
    }
  });
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

// The products that read these weights have them in registers.
template <class S>
__device__ __forceinline__ void release_weights(const Rings<S>& rings, int stage) {
  if (threadIdx.x % 32 == 0) barrier_arrive(rings.freed(stage));
}
// Both blocks of a pair write into a stage of tokens, so both must know. Nothing was written, so no
// fence is needed: .release.cluster here takes a microsecond (MEMBAR.ALL.GPU).
template <class S>
__device__ __forceinline__ void release_tokens(const Rings<S>& rings, int stage) {
  const int lane = threadIdx.x % 32;
  if constexpr (S::kPair == 1) {
    if (lane == 0) barrier_arrive(rings.tokens_freed(stage));
  } else if (lane < S::kPair)
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(
                     in_block(rings.tokens_freed(stage), lane))
                 : "memory");
}

// acc += the sums of a stage, times the scales of the first and the second rows.
template <int kTokens>
__device__ __forceinline__ void add_scaled(const float (&part)[kTokens / 2], float2 factors,
                                           float (&acc)[kTokens / 2]) {
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i)
    acc[i] = fmaf(i / 2 % 2 == 0 ? factors.x : factors.y, part[i], acc[i]);
}
__device__ __forceinline__ float2 factors_at(const float* scale, const float* second_scale,
                                             int step) {
  return {__ldg(scale + step) * kScaleFactor, __ldg(second_scale + step) * kScaleFactor};
}

// Sums over all columns, e4m3; scales of the first and the second rows, one for each stage. For few
// tokens: registers hold two stages, so the tensor cores have the next products waiting.
template <class S, int kTokens>
__device__ __forceinline__ void sum_e4m3_ahead(const Rings<S>& rings, Turns<S>& turns, int steps,
                                               const Place& place, const float* scale,
                                               const float* second_scale,
                                               float (&acc)[kTokens / 2]) {
  struct Half {
    Operand low, high;
    float part[kTokens / 2];
    float2 factors;
    int stage, tokens;
  };
  Half even, odd;
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) acc[i] = 0;
  const auto bring = [&](int step, Half& h) {
    h.stage = turns.weights.stage;
    barrier_wait(rings.filled(h.stage), turns.weights.parity);
    h.factors = factors_at(scale, second_scale, step);
    fetch<S>(rings.weights(h.stage), place, 0, h.low);
    fetch<S>(rings.weights(h.stage), place, 1, h.high);
    turns.weights.next();
  };
  const auto begin = [&](Half& h) {
    h.tokens = turns.tokens.stage;
    barrier_wait(rings.tokens_filled(h.tokens), turns.tokens.parity);
    multiply<kTokens>(h.low, rings.tokens(h.tokens), false, h.part);
    multiply<kTokens>(h.high, rings.tokens(h.tokens) + kTokens * 128, true, h.part);
    release_weights(rings, h.stage);
    turns.tokens.next();
  };
  const auto settle = [&](const Half& h) {
    release_tokens(rings, h.tokens);
    add_scaled<kTokens>(h.part, h.factors, acc);
  };
  bring(0, even);
  int i = 0;
  for (; i + 1 < steps; i += 2) {
    begin(even);
    bring(i + 1, odd);
    begin(odd);
    warpgroup_wait<2>();
    settle(even);
    if (i + 2 < steps) bring(i + 2, even);
    warpgroup_wait<0>();
    settle(odd);
  }
  if (i == steps) return;
  begin(even);
  warpgroup_wait<0>();
  settle(even);
}

// The same for many tokens: half a stage is decoded while the other half is multiplied.
template <class S, int kTokens>
__device__ __forceinline__ void sum_e4m3(const Rings<S>& rings, Turns<S>& turns, int steps,
                                         const Place& place, const float* scale,
                                         const float* second_scale, float (&acc)[kTokens / 2]) {
  Operand low, high;
  float part[kTokens / 2];
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) acc[i] = 0;
  barrier_wait(rings.filled(turns.weights.stage), turns.weights.parity);
  fetch<S>(rings.weights(turns.weights.stage), place, 0, low);
  for (int step = 0; step < steps; ++step, turns.tokens.next()) {
    const uint32_t tokens = rings.tokens(turns.tokens.stage);
    const float2 factors = factors_at(scale, second_scale, step);
    barrier_wait(rings.tokens_filled(turns.tokens.stage), turns.tokens.parity);
    multiply<kTokens>(low, tokens, false, part);
    fetch<S>(rings.weights(turns.weights.stage), place, 1, high);
    multiply<kTokens>(high, tokens + kTokens * 128, true, part);
    release_weights(rings, turns.weights.stage);
    turns.weights.next();
    if (step + 1 < steps) {
      barrier_wait(rings.filled(turns.weights.stage), turns.weights.parity);
      warpgroup_wait<1>();
      fetch<S>(rings.weights(turns.weights.stage), place, 0, low);
    }
    warpgroup_wait<0>();
    release_tokens(rings, turns.tokens.stage);
    add_scaled<kTokens>(part, factors, acc);
  }
}

// bf16: one chain through all columns. While one warpgroup fetches, the other multiplies.
template <class S, int kTokens>
__device__ __forceinline__ void sum_bf16(const Rings<S>& rings, Turns<S>& turns, int steps,
                                         const Place& place, float (&acc)[kTokens / 2]) {
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) acc[i] = 0;
  for (int step = 0; step < steps; ++step, turns.weights.next(), turns.tokens.next()) {
    Operand weights;
    barrier_wait(rings.filled(turns.weights.stage), turns.weights.parity);
    fetch<S>(rings.weights(turns.weights.stage), place, 0, weights);
    barrier_wait(rings.tokens_filled(turns.tokens.stage), turns.tokens.parity);
    multiply<kTokens>(weights, rings.tokens(turns.tokens.stage), true, acc);
    release_weights(rings, turns.weights.stage);
    warpgroup_wait<0>();
    release_tokens(rings, turns.tokens.stage);
  }
}

// Accumulator i: token i / 4 * 8 + lane % 4 * 2 + i % 2; the second row when i / 2 is odd.
template <class S, int kTokens>
__device__ __forceinline__ void finish(const Work& w, const Unit& u,
                                       const float (&acc)[kTokens / 2]) {
  if (u.panel >= w.panels) return;  // there is no such panel, where their number is odd
  // Volatile, so that addresses are made here and not kept in registers all the time.
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < kTokens / 2; i += 4)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int token = i * 2 + lane % 4 * 2 + j;
      if (token >= u.count) continue;
      const int64_t row = int64_t{u.row + token} * w.out_width;
      const float first = acc[i + j], second = acc[i + 2 + j];
      if constexpr (S::kGateUp) {
        const float result = gated(first, second);
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
__device__ __forceinline__ void compute(const Rings<S>& rings, Turns<S>& turns, const Place& place,
                                        const Work& w, const Unit& u) {
  const int steps = (w.columns + S::kDepth - 1) / S::kDepth;
  float acc[kTokens / 2];
  if constexpr (S::kE4m3) {
    const int32_t row = min(u.panel, w.panels - 1) * w.panel_rows;
    const int64_t at = u.expert * w.scale_step + row / kScaleBlock * w.scale_stride;
    const float *scale = w.scale + at, *second_scale = w.second_scale + at;
    if constexpr (kTokens <= 32)
      sum_e4m3_ahead<S, kTokens>(rings, turns, steps, place, scale, second_scale, acc);
    else
      sum_e4m3<S, kTokens>(rings, turns, steps, place, scale, second_scale, acc);
  } else {
    sum_bf16<S, kTokens>(rings, turns, steps, place, acc);
  }
  finish<S, kTokens>(w, u, acc);
}

template <class S>
__device__ __forceinline__ void compute(const Rings<S>& rings, Turns<S>& turns, const Place& place,
                                        const Work& w, const Unit& u) {
  const int width = width_index(u.count);
  if (width == 0) return compute<S, 8>(rings, turns, place, w, u);
  if (width == 1) return compute<S, 16>(rings, turns, place, w, u);
  if (width == 2) return compute<S, 32>(rings, turns, place, w, u);
  if constexpr (S::kMost > 32) {
    if (width == 3) return compute<S, 48>(rings, turns, place, w, u);
    if (width == 4) return compute<S, 64>(rings, turns, place, w, u);
    if (width == 5) return compute<S, 80>(rings, turns, place, w, u);
    if (width == 6) return compute<S, 96>(rings, turns, place, w, u);
    if (width == 7) return compute<S, 112>(rings, turns, place, w, u);
    return compute<S, 128>(rings, turns, place, w, u);
  }
}

template <class S>
__device__ __forceinline__ void meet() {
  if constexpr (S::kPair == 1) {
    __syncthreads();
  } else {
    cluster_arrive();
    cluster_wait();
  }
}

// Blocks in clusters of kPair.
template <class S>
__global__ void __launch_bounds__(kThreads, 1)
    multiply_groups(const __grid_constant__ Maps maps, const __grid_constant__ Work w) {
  extern __shared__ uint8_t memory[];
  const uint32_t start = shared_address(memory);
  const uint32_t base = (start + 1023) / 1024 * 1024;
  uint8_t* behind = memory + (base - start) + S::kBytes + S::kBarriers * 8;
  const Rings<S> rings{base, reinterpret_cast<Unit*>(behind)};
  auto* begin = reinterpret_cast<int32_t*>(behind + S::kStages * sizeof(Unit));
  int32_t* tile_begin = begin + w.experts + 1;
  if (threadIdx.x == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      barrier_init(rings.filled(s), 1);
      barrier_init(rings.freed(s), 8);  // warps that multiply
    }
    for (int s = 0; s < S::kTokenStages; ++s) {
      barrier_init(rings.tokens_filled(s), 1);
      barrier_init(rings.tokens_freed(s), S::kPair * 8);
    }
    barrier_init_done();
  }
  wait_for_previous();
  for (int e = threadIdx.x; e <= w.experts; e += kThreads) {
    begin[e] = w.plan.begin[e];
    tile_begin[e] = w.plan.tile_begin[e];
  }
  meet<S>();  // the other block's barriers are there, and this one's tables
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    const int rank = S::kPair == 1 ? 0 : static_cast<int>(cluster_rank());
    if (threadIdx.x == 256) feed_weights<S>(rings, maps, w, begin, tile_begin, rank);
    if (threadIdx.x == 288) feed_tokens<S>(rings, maps, w, begin, tile_begin, rank);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const Place place = place_in_stage<S>();
    Turns<S> turns;
    while (true) {
      barrier_wait(rings.filled(turns.weights.stage), turns.weights.parity);
      const Unit u = rings.units[turns.weights.stage];
      if (u.count == 0) break;
      compute<S>(rings, turns, place, w, u);
    }
  }
  if constexpr (S::kPair > 1)
    meet<S>();  // the other block may still copy to here, or say that a stage is free
}

}  // namespace fathom::cuda::grouped
