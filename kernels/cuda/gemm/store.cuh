// How does a tile of results leave the registers? Either each thread stores what it holds (a warp's
// store covers whole 32-byte sectors), or through shared memory: turned round there, and written by
// the copy engine while the warpgroup is already multiplying the next tile.
#pragma once

#include "kernels/cuda/gemm/layout.h"
#include "kernels/cuda/gemm/ptx.cuh"

namespace fathom::cuda::gemm {

// Result i of thread t of a warpgroup: slab_row and slab_token (layout.h) of what begins at `y`.
// A warp stores 8 neighbours (32 bytes) for each of 4 tokens at a time.
template <int kTokens>
__device__ __forceinline__ void store_slab(float* y, int64_t stride, int rows, int tokens,
                                           const float (&sums)[kTokens / 2]) {
  const int t = threadIdx.x % 128;
#pragma unroll
  for (int i = 0; i < kTokens / 2; ++i) {
    const int row = slab_row(t, i), token = slab_token(t, i);
    if (row < rows && token < tokens) y[token * stride + row] = sums[i];
  }
}

// Room of a warpgroup for store_slab_through: one or two pieces of 64 weight rows x 32 tokens.
inline constexpr int kPieceTokens = 32, kPieceRows = 32;  // of a box of y's map, float32
inline constexpr int kPieceRoom = kPieceTokens * kSlabRows * 4;

// The 64 x kTokens results from (row, token) on into the matrix of a tensor map, which drops what
// lies outside. `room`: kRoom bytes, 1024-byte aligned, this warpgroup's own.
template <int kTokens, int kRoom>
__device__ __forceinline__ void store_slab_through(uint32_t room, const CUtensorMap& y, int row,
                                                   int token, const float (&sums)[kTokens / 2]) {
  const int t = threadIdx.x % 128;
  const uint32_t name = 1 + threadIdx.x / 128;  // of this warpgroup's hardware barrier
  constexpr int kHalf = kPieceTokens * 128;     // bytes of a box
  constexpr int kBuffers = kRoom / kPieceRoom;
#pragma unroll
  for (int piece = 0; piece < kTokens / kPieceTokens; ++piece) {
    const uint32_t buffer = room + piece % kBuffers * kPieceRoom;
    if (t == 0) stores_read<kBuffers - 1>();  // the last one out of this buffer
    warpgroup_meet(name);
#pragma unroll
    for (int i = 0; i < kPieceTokens / 2; ++i) {
      const int r = slab_row(t, i), c = slab_token(t, i);
      store_shared(buffer + r / kPieceRows * kHalf + swizzled(c, r % kPieceRows * 4),
                   sums[piece * (kPieceTokens / 2) + i]);
    }
    show_to_copies();
    warpgroup_meet(name);
    if (t == 0) {
      for (int half = 0; half < 2; ++half)
        store_box(y, buffer + half * kHalf, row + half * kPieceRows, token + piece * kPieceTokens);
      stores_commit();
    }
  }
}

}  // namespace fathom::cuda::gemm
