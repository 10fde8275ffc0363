// What do the passes of absorbed attention hand to each other? Queries in latent space and sums of
// latents, one row per (row, head); the pass in between is there twice, by instruction set.
#pragma once

#include "kernels/cpu/attention_tiles.h"

namespace fathom::cpu {

struct Absorbed {
  const Inner& inner;
  const OpContext& ctx;
  const MlaParams& p;
  std::span<const Run> runs;
  int32_t rows;   // 1 + the last row of q in use
  int32_t width;  // rank + rope
  int lanes;
  float* queries;  // [rows, heads, width]
  float* sums;     // [rows, heads, rank]
};

// The products with kv_b where there are matrix tiles: key rows of a head are at most kSpan.
void into_latent_space_by_tiles(const Absorbed& a, Workspace& workspace);
void out_of_latent_space_by_tiles(const Absorbed& a, Workspace& workspace);

// From queries to sums by tiles of 64 positions in float32, or by whole spans with inner.spans.
void absorbed_by_tiles(const Absorbed& a, Workspace& workspace);
void absorbed_by_spans(const Absorbed& a, Workspace& workspace);

}  // namespace fathom::cpu
