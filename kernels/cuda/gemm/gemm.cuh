// How does one kernel serve every matrix product of weights and tokens, dense or grouped by expert?
// One warp feeds a ring of shared-memory stages by TMA; one or two warpgroups multiply (slab.cuh);
// a `Work` says which tiles there are and where results go. Thread blocks walk over tiles until
// none is left.
//
//   struct Work {                       // trivially copyable, a kernel parameter
//     static constexpr bool kKnownEarly;  // tiles are known before earlier kernels end: the first
//                                         // weights are fetched while those still run
//     __device__ int tiles() const;       // may read device memory when !kKnownEarly
//     __device__ Tile tile(int index) const;
//     // What thread t of the warpgroup of slab `slab` of the tile holds of it when finished:
//     // layout.h's slab_row (+ 64 * slab) and slab_token. Only rows < tile.rows and tokens <
//     tile.tokens are
//     // results; the rest belongs to nobody and must not be stored.
//     template <int kTokens>
//     __device__ void finish(const Tile&, int slab, const float (&sums)[kTokens / 2]) const;
//     // The same when Shape::kRoom > 0: `room` is that many bytes of shared memory of this
//     // warpgroup, for store_slab_through (store.cuh).
//     template <int kTokens, int kRoom>
//     __device__ void finish_through(const Tile&, int slab, uint32_t room, const float
//     (&sums)[...]) const;
//     // A single result, for Split::cluster.
//     __device__ void finish_one(const Tile&, int row, int token, float sum) const;
//   };
//
// Dense: dense.cuh. Grouped by expert: let the weights' map cover all experts of a layer, [experts
// * rows, cols] (equal distances make that one matrix; pad rows belong to row distances), let a
// kernel before this one write a list of tiles, and say in tile(): weight_row = expert * rows +
// first row, token_row = first gathered row, tokens = rows of the expert left there, scale = the
// expert's table. Tokens read beyond an expert's run are another's: their sums are not stored.
// kKnownEarly = false.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/gemm/slab.cuh"

namespace fathom::cuda::gemm {

struct Tile {
  int weight_row = 0;            // in the weights' tensor map
  int token_row = 0;             // in the tokens' tensor map
  int rows = 0, tokens = 0;      // results that count, from the first on
  const float* scale = nullptr;  // FP8: of the first row's block of 128 rows, one for each 128 k
  int64_t scale_stride = 0;
  int block_row = 0;  // of the first row within that block: 0 or 64
  // Codes: of the first token, one for each 128 k; those of the tile's tokens follow, 16-byte
  // aligned, and there is memory for as many as a tile has.
  const float* token_scale = nullptr;
  int64_t token_scale_stride = 0;      // between two 128 k
  int64_t out_row = 0, out_token = 0;  // Work's own
};

// K as the kernel walks it.
struct Depth {
  int blocks = 0;  // of 128 k
  int parts = 1;   // 1 with Split::none; thread blocks of a cluster with Split::cluster
};

namespace detail {

// The producer: one thread keeps the ring full.
template <class S, class Work>
__device__ __forceinline__ void feed(const Ring<typename S::Layout>& ring,
                                     const CUtensorMap& weights, const CUtensorMap& tokens,
                                     const Work& work, int first_tile, int tile_step, int begin,
                                     int steps) {
  const int rank = S::kPaired ? static_cast<int>(cluster_rank()) : 0;
  using L = typename S::Layout;
  const auto fetch_weights = [&](int stage, int row, int step) {
    barrier_expect(ring.filled(stage), L::kBytes + L::kScaleBytes);
    copy_box(ring.stage(stage), weights, ring.filled(stage), (begin + step) * L::kDepth,
             row + rank * S::kRows);
  };
  const auto fetch_tokens = [&](int stage, const Tile& tile, int step) {
    if constexpr (L::kScaleBytes > 0)
      copy_bytes(ring.scales(stage), tile.token_scale + (begin + step) * tile.token_scale_stride,
                 L::kScaleBytes, ring.filled(stage));
    const int row = tile.token_row;
#pragma unroll
    for (int piece = 0; piece < L::kPieces; ++piece) {
      const uint32_t to = ring.stage(stage) + L::kWeightBytes + piece * L::kPieceBytes;
      const int column = (begin + step) * L::kDepth + piece * L::kPieceDepth;
      if constexpr (S::kPaired)
        copy_box_to(3, to + rank * S::kTokenBox * 128, tokens, ring.filled(stage), column,
                    row + rank * S::kTokenBox);
      else
        copy_box(to, tokens, ring.filled(stage), column, row);
    }
  };
  int early = 0;
  if constexpr (Work::kKnownEarly) {
    early = smaller(S::kStages, steps);
    const Tile tile = work.tile(first_tile);
    for (int step = 0; step < early; ++step) fetch_weights(step, tile.weight_row, step);
  }
  if constexpr (S::kPaired) cluster_wait();  // the other block's barriers are ready
  wait_for_previous();
  Turn<S::kStages> turn;
  const int tiles = work.tiles();
  for (int index = first_tile; index < tiles; index += tile_step) {
    const Tile tile = work.tile(index);
    for (int step = 0; step < steps; ++step, turn.next()) {
      if (early > 0) {
        --early;
      } else {
        barrier_wait(ring.freed(turn.stage), turn.parity ^ 1);
        fetch_weights(turn.stage, tile.weight_row, step);
      }
      fetch_tokens(turn.stage, tile, step);
    }
  }
}

template <class S, class Work>
__device__ __forceinline__ void finish(const Work& work, const Tile& tile, int slab, uint32_t room,
                                       const float (&acc)[S::kTokens / 2]) {
  if constexpr (S::kRoom > 0)
    work.template finish_through<S::kTokens, S::kRoom>(tile, slab, room, acc);
  else
    work.template finish<S::kTokens>(tile, slab, acc);
}

// Sums of all parts, added in ascending order of the part by the block that finishes them: each
// block of the cluster has a run of the tile's tokens.
template <class S, class Work>
__device__ __forceinline__ void gather_parts(const Work& work, const Tile& tile, uint32_t sums,
                                             const float* sums_here, uint32_t come, int parts,
                                             int slab, const float (&acc)[S::kTokens / 2]) {
  const int t = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(cluster_rank());
  const int each = up_div(S::kTokens, parts), first = rank * each;
  const int here = smaller(each, S::kTokens - first);  // tokens of this block; none if <= 0
  if (t == 0 && here > 0) barrier_expect(come, parts * here * S::kRows * 4);
  cluster_wait();  // all blocks of the cluster run and have initialised their barriers
  const uint32_t inverse = reciprocal(each);
  const int row = slab * kSlabRows + slab_row(t % 128, 0);
#pragma unroll
  for (int i = 0; i < S::kTokens / 2; i += 4)
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int token = slab_token(t % 128, i + j), owner = owner_of(token, inverse);
      const uint32_t to =
          in_block(sums + ((rank * each + token - owner * each) * S::kRows + row) * 4, owner);
      const uint32_t barrier = in_block(come, owner);
      push(to, acc[i + j], barrier);
      push(to + 8 * 4, acc[i + j + 2], barrier);  // 8 rows further on
    }
  if (here <= 0) return;
  barrier_wait(come, 0);
  for (int e = t; e < here * S::kRows; e += S::kSlabs * 128) {
    float sum = sums_here[e];
    for (int part = 1; part < parts; ++part) sum += sums_here[part * each * S::kRows + e];
    const int r = e % S::kRows, token = first + e / S::kRows;
    if (r < tile.rows && token < tile.tokens) work.finish_one(tile, r, token, sum);
  }
}

}  // namespace detail

// Grid: with Split::cluster, parts x tiles blocks in clusters of `parts`, one tile each. Else any
// number of blocks (an even one, in clusters of 2, when paired), best as many as run at one time.
template <class S, class Work>
__global__ __launch_bounds__(S::kThreads,
                             S::kResident) void product(const __grid_constant__ CUtensorMap weights,
                                                        const __grid_constant__ CUtensorMap tokens,
                                                        const __grid_constant__ Work work,
                                                        const Depth depth) {
  using L = typename S::Layout;
  extern __shared__ uint8_t memory[];
  const uint32_t base = (shared_address(memory) + 1023) / 1024 * 1024;
  const uint32_t rooms = base + S::kStages * L::kBytes;
  const uint32_t sums = rooms + S::kSlabs * S::kRoom;
  auto* sums_here = reinterpret_cast<float*>(memory + (sums - shared_address(memory)));
  const uint32_t scales = sums + S::kSumBytes;
  const uint32_t barriers = scales + S::kStages * L::kScaleBytes;
  const Ring<L> ring{base, barriers, barriers + S::kStages * 8, scales};
  const uint32_t come = barriers + 2 * S::kStages * 8;
  if (threadIdx.x == 0) {
    for (int s = 0; s < S::kStages; ++s) {
      barrier_init(ring.filled(s), 1);
      barrier_init(ring.freed(s), S::kBlocks * S::kSlabs * 4);  // warps that read the stage
    }
    barrier_init(come, 1);
    barrier_init_done();
  }
  __syncthreads();
  constexpr bool kCluster = S::kSplit == Split::cluster;
  constexpr int kSteps = kBlockDepth / L::kDepth;  // stages of a block of 128 k
  if constexpr (kCluster || S::kPaired) cluster_arrive();
  const int parts = depth.parts;
  const int together = kCluster ? parts : S::kBlocks;  // blocks of one tile
  const int first_tile = static_cast<int>(blockIdx.x) / together;
  const int tile_step = static_cast<int>(gridDim.x) / together;
  const int first_part = kCluster ? static_cast<int>(cluster_rank()) : 0;
  const int begin = kCluster ? part_begin(depth.blocks, parts, first_part) : 0;
  const int end = kCluster ? part_begin(depth.blocks, parts, first_part + 1) : depth.blocks;

  if (threadIdx.x >= S::kSlabs * 128) {
    if constexpr (S::kMovesRegisters) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == S::kSlabs * 128) {
      prefetch_map(weights);
      prefetch_map(tokens);
      detail::feed<S>(ring, weights, tokens, work, first_tile, tile_step, begin * kSteps,
                      (end - begin) * kSteps);
    } else if constexpr (S::kPaired) {
      cluster_wait();
    }
    if constexpr (S::kPaired) cluster_arrive();
    if constexpr (kCluster || S::kPaired) cluster_wait();
    return;
  }

  if constexpr (S::kMovesRegisters) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  if constexpr (S::kPaired) cluster_wait();
  wait_for_previous();
  const int own_slab = static_cast<int>(threadIdx.x) / 128;  // in this block's stages
  const int slab = own_slab + (S::kPaired ? static_cast<int>(cluster_rank()) * S::kSlabs : 0);
  using Math = Slab<S>;
  Turn<S::kStages> turn;
  const int tiles = work.tiles();
  for (int index = first_tile; index < tiles; index += tile_step) {
    const Tile tile = work.tile(index);
    const float* scale =
        S::kElement == Element::bf16
            ? nullptr
            : tile.scale +
                  (tile.block_row + (slab * kSlabRows < tile.rows ? slab * kSlabRows : 0)) /
                      kBlockDepth * tile.scale_stride;
    float acc[S::kTokens / 2];
    if constexpr (S::kSplit == Split::serial) {
      float* mine = sums_here + threadIdx.x;  // accumulator i at i * threads: nobody else's
      constexpr int kApart = S::kSlabs * 128;
      for (int part = 0; part < parts; ++part) {
        const int from = part_begin(depth.blocks, parts, part);
        const int to = part_begin(depth.blocks, parts, part + 1);
        Math::run(ring, turn, (to - from) * kSteps, own_slab, scale + from, acc);
        if (part > 0)
#pragma unroll
          for (int i = 0; i < S::kTokens / 2; ++i) acc[i] = mine[i * kApart] + acc[i];
        if (part + 1 < parts)
#pragma unroll
          for (int i = 0; i < S::kTokens / 2; ++i) mine[i * kApart] = acc[i];
      }
      detail::finish<S>(work, tile, slab, rooms + own_slab * S::kRoom, acc);
    } else {
      Math::run(ring, turn, (end - begin) * kSteps, own_slab, scale + begin, acc);
      if constexpr (kCluster)
        detail::gather_parts<S>(work, tile, sums, sums_here, come, parts, own_slab, acc);
      else
        detail::finish<S>(work, tile, slab, rooms + own_slab * S::kRoom, acc);
    }
  }
  if constexpr (S::kRoom > 0) stores_done();
  // Nobody leaves while the other block may still write here.
  if constexpr (S::kPaired) {
    cluster_arrive();
    cluster_wait();
  }
}

}  // namespace fathom::cuda::gemm
