// How do a copying thread and multiplying warps share stages of shared memory? A ring: each stage
// has a barrier that ends a phase when it is full, and one when all readers are done with it.
#pragma once

#include <cstdint>

namespace fathom::cuda::flash {

// A place in the ring, and how often it went round.
template <int kStages>
struct Place {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Shared addresses: stages, and two barriers for each.
template <int kStageBytes>
struct Ring {
  uint32_t stages, full, empty;
  __device__ __forceinline__ uint32_t stage(int s) const { return stages + s * kStageBytes; }
  __device__ __forceinline__ uint32_t filled(int s) const { return full + s * 8; }
  __device__ __forceinline__ uint32_t freed(int s) const { return empty + s * 8; }
};

}  // namespace fathom::cuda::flash
