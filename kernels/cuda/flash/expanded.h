// What do the kernels of a prompt's expanded attention hand on? One struct of device memory, filled
// in this order: plan_tiles, pack_weights, then for every window of tiles gather_tiles,
// expand_tiles and attend_tiles. A window is `window_tiles` tiles of all runs' tiles in a row; a
// block of query rows whose run goes on in the next window leaves its running softmax in `states`
// and takes it up there, so windows do not show in the bits.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda::flash {

struct Expanded {
  MlaParams p;
  int32_t* tiles_before = nullptr;   // [count + 1], sums over the runs: tiles of their contexts,
  int32_t* blocks_before = nullptr;  // [count + 1], and blocks of 128 query rows
  uint8_t* weights = nullptr;        // [heads] images of kv_b
  uint8_t* latents = nullptr;        // [window_tiles] images
  uint8_t* ropes = nullptr;          // [window_tiles] images
  uint8_t* heads = nullptr;          // [window_tiles][head_count] images of keys and values
  float* states = nullptr;           // [blocks][head_count], or null when there is one window
  int32_t window_tiles = 0, window = 0;
  int32_t first_head = 0, head_count = 0;
  int32_t tiles_most = 0, blocks_most = 0;  // bounds known to the host
};

constexpr int64_t kStateFloats = 68 * 256;  // of a block and head: 68 of each thread

void plan_tiles(const OpContext&, const Expanded&);
void pack_weights(const OpContext&, const Expanded&);
void gather_tiles(const OpContext&, const Expanded&);
void expand_tiles(const OpContext&, const Expanded&);
void attend_tiles(const OpContext&, const Expanded&);

// Memory for expanded keys and values: (tile, head) pairs of 64 KB. 512 MB hold 8192 positions of
// 128 heads, or 131072 of 8.
inline constexpr int64_t kPairs = 8192;

// Whether these kernels take the shape; a matter of the model, not of the batch.
bool takes(const OpContext&, const MlaParams&);
// At most max(pairs, 1) pairs at a time, which does not show in the bits.
void mla_expanded(const OpContext&, const MlaParams&, int64_t pairs = kPairs);

}  // namespace fathom::cuda::flash
