// What does the kernel of fast absorbed attention take and leave? Queries in latent space and the
// plan of a batch of rows; float32 sums of latents for each split, not yet divided.
#pragma once

#include <cuda.h>

#include "kernels/cuda/mla/rows.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::mla {

// Of one split and head: the largest score and the sum of weights 2^(score - largest); scores are
// times log2 e.
struct State {
  float largest = 0, sum = 0;
};

struct AttendParams {
  const Item* items = nullptr;
  const int32_t* count = nullptr;      // of items
  int32_t items_most = 0;              // bound on count
  const BlockIndex* blocks = nullptr;  // AttentionTables::blocks
  // Of a cache of 8 bits, which no map describes: 16-byte aligned, as its blocks are. Else null.
  const uint8_t* bytes = nullptr;
  int64_t byte_stride = 0;  // of blocks
  int32_t block_tokens = 0;
  int32_t heads = 0;
  float scale_log2 = 0;     // scale * log2 e
  State* states = nullptr;  // [item, heads]
  float* sums = nullptr;    // [item, heads, 512]
};

// Launches it over the maps of the queries [rows, heads, 576] (boxes of 64 heads) and of the cache
// (boxes of 64 tokens, or of 16 where blocks are no multiple of 64); the latter is not looked at
// where p.bytes is given.
void attend(CudaDevice& device, const CUtensorMap& queries, const CUtensorMap& latents,
            const AttendParams& p);

}  // namespace fathom::cuda::mla
