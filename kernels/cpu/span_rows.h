// Where are the cached rows of a span? In the cache itself when they lie there as the tiles want
// them (bf16, whole groups of 16 positions in a block, depth a multiple of 32), else in a copy.
// Positions behind the last one may hold anything: no query sees them, and packed values have zeros
// for them.
#pragma once

#include <span>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/span_kernel.h"

namespace fathom::cpu {

// Some columns of a paged cache: slot s of block b at base + b * block_stride + s * row_stride.
struct PagedRows {
  const void* base;
  DType dtype;
  int64_t block_stride, row_stride;  // elements
  int32_t block_tokens, width;
  int32_t rank;  // of 8-bit latents: how many of the width's values they are
};

inline PagedRows paged_rows(const LatentCache& cache) {
  const int32_t width = cache.rank + cache.rope;
  return {cache.base,         cache.dtype,
          cache.block_stride, latent_stride(cache.dtype, cache.rank, cache.rope),
          cache.block_tokens, width,
          cache.rank};
}

// Elements of the copy that span_rows may need.
constexpr int64_t span_copy_size(int32_t width) { return kSpan * round_up(width, 32); }

// Positions [first, first + count); first is a multiple of kSpan.
SpanRows span_rows(const Inner&, const PagedRows& cache, std::span<const BlockIndex> blocks,
                   int32_t first, int32_t count, uint16_t* copy);

}  // namespace fathom::cpu
