// How does the copy engine find latents? By a three-dimensional tensor map: 576 values of a token,
// tokens of a block, blocks; or 576 values of a query, heads, rows.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace fathom::cuda::mla {

struct LatentView {
  const void* data = nullptr;  // bf16, 16-byte aligned
  int64_t tokens = 0;          // of a block; those outside read as zeros
  int64_t blocks = 0;
  int64_t block_stride = 0;  // elements; a multiple of 8
  int box_tokens = 0;        // one copy takes 64 values of so many tokens, 128-byte swizzle
};

// cudaErrorInvalidValue when it can not be mapped, cudaErrorNotSupported without a driver that can.
cudaError_t make_latent_map(const LatentView& view, CUtensorMap* map);

}  // namespace fathom::cuda::mla
