// How large is a tile, and what of it lies in shared memory? Everything about a kernel of gemm.cuh
// that is known when it is compiled.
#pragma once

#include "kernels/cuda/gemm/layout.h"

namespace fathom::cuda::gemm {

// Of weights. Tokens are bf16; or, where both are `codes`, e4m3 like the weights, with a scale for
// each 128 k of each token.
enum class Element : uint8_t { bf16, e4m3, codes };

// One stage: the weight rows of the tile (128 bytes of k each), then the tokens of the same k in
// pieces of 128 bytes each (64 k of bf16), every piece swizzled. Scales of tokens lie elsewhere.
template <Element kElement, int kSlabs, int kTokens>
struct Stage {
  static constexpr int kDepth = kElement == Element::bf16 ? 64 : 128;  // k
  static constexpr int kPieces = kElement == Element::e4m3 ? 2 : 1;
  static constexpr int kPieceDepth = kDepth / kPieces;
  static constexpr int kScaleBytes = kElement == Element::codes ? kTokens * 4 : 0;
  static constexpr int kWeightBytes = kSlabs * kSlabRows * 128;
  static constexpr int kPieceBytes = kTokens * 128;
  static constexpr int kBytes = kWeightBytes + kPieces * kPieceBytes;
};

// Where parts of K (layout.h) are summed: nowhere, one after the other in a thread block, or in the
// thread blocks of a cluster. The sums are the same.
enum class Split : uint8_t { none, serial, cluster };

// kRoom: shared memory of each warpgroup for its Work, a multiple of 1 KB.
// kResident: thread blocks on one multiprocessor at a time. kPaired: two thread blocks of a cluster
// take neighbouring tiles of weight rows and the same tokens; each fetches half of the tokens for
// both, which spares the L2 cache a third of its reads.
template <Element kElement_, int kSlabs_, int kTokens_, int kStages_, Split kSplit_,
          bool kPaired_ = false, int kResident_ = 1, int kRoom_ = 0>
struct Shape {
  static constexpr Element kElement = kElement_;
  static constexpr int kSlabs = kSlabs_, kTokens = kTokens_, kStages = kStages_;
  static constexpr Split kSplit = kSplit_;
  static constexpr bool kPaired = kPaired_;
  static constexpr int kBlocks = kPaired ? 2 : 1;  // that share one tile of Work
  using Layout = Stage<kElement, kSlabs, kTokens>;
  static constexpr int kRows = kSlabs * kSlabRows;     // of a block, and a box of the weights' map
  static constexpr int kTileRows = kRows * kBlocks;    // of a tile of Work
  static constexpr int kTokenBox = kTokens / kBlocks;  // rows of a box of the tokens' map
  static constexpr int kResident = kResident_;
  // Warpgroups that need more registers than an even share: a whole warpgroup then stands behind
  // the producer and gives its own away.
  static constexpr bool kMovesRegisters = kSlabs > 1;
  static constexpr int kThreads = kSlabs * 128 + (kMovesRegisters ? 128 : 32);
  static constexpr int kSumBytes =
      kSplit == Split::none ? 0 : kRows * (kTokens + (kSplit == Split::cluster ? 7 : 0)) * 4;
  static constexpr int kRoom = kRoom_;
  static constexpr int kBarriers = 2 * kStages + 1;
  // 1 KB to align the stages.
  static constexpr int kShared = 1024 + kStages * Layout::kBytes + kSlabs * kRoom + kSumBytes +
                                 kStages * Layout::kScaleBytes + kBarriers * 8;
  static_assert(kShared <= 227 * 1024 && kResident * (kShared + 1024) <= 228 * 1024);
  static_assert(kSplit != Split::cluster || !kPaired);
};

}  // namespace fathom::cuda::gemm
