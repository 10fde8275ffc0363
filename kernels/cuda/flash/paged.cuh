// How do tiles of a paged cache of keys and values come into shared memory? A warpgroup copies 16
// bytes a thread, asynchronously, straight to their swizzled places; positions behind the end of
// what is attended to become zeros, whatever the cache holds there.
#pragma once

#include "kernels/cuda/flash/grouped.h"
#include "kernels/cuda/flash/places.h"
#include "kernels/cuda/flash/ptx.cuh"

namespace fathom::cuda::flash {

__device__ __forceinline__ void copy_chunk(uint32_t to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
// The barrier gets this thread's arrival when its copies so far are done.
__device__ __forceinline__ void arrive_when_copied(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// A warp's 32 positions of a tile: each lane knows where one begins, in elements from the head's
// first key.
struct PagedTile {
  int64_t place;  // of this lane's position
  bool there;
};

__device__ __forceinline__ PagedTile paged_tile(const KvCache& c, const BlockIndex* blocks,
                                                int first, int end) {
  const int position = first + static_cast<int>(threadIdx.x) % 128;
  if (position >= end) return {0, false};
  const int block = position / c.block_tokens;
  return {int64_t{blocks[block]} * c.block_stride +
              int64_t{position - block * c.block_tokens} * 2 * c.heads * c.dim,
          true};
}

// Rows of kDim values from `base` + place on, into an image of 128 rows.
template <int kDim>
__device__ __forceinline__ void copy_tile(uint32_t image, const uint16_t* base,
                                          const PagedTile& tile) {
  constexpr int kChunks = kDim / 8, kAtOnce = 32 / kChunks;
  const int lane = static_cast<int>(threadIdx.x) % 32,
            warp = static_cast<int>(threadIdx.x) % 128 / 32;
  const int chunk = lane % kChunks;
#pragma unroll
  for (int i = 0; i < 32; i += kAtOnce) {
    const int row = i + lane / kChunks;
    const int64_t place = __shfl_sync(~0u, tile.place, row);
    const bool there = __shfl_sync(~0u, static_cast<int>(tile.there), row) != 0;
    copy_chunk(image + chunk_place(kTilePositions, warp * 32 + row, chunk),
               base + place + chunk * 8, there);
  }
}

}  // namespace fathom::cuda::flash
