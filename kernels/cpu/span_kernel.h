// How does a machine with matrix tiles attend? In blocks of 16 queries over one span of at most 256
// cached positions: all scores of the span, one softmax, one product with the values. A query is a
// column of the scores and shares no sum with its neighbours, so what else stands in its block does
// not show in its bits. Everything is bf16 with float32 sums; probabilities are rounded to bf16 and
// summed as rounded, so the weights of a row still add up to one.
//
// Formats, all tiles 1 KB and 64-byte aligned:
// * rows: bf16 values, one position after another; positions come in groups of 16, one pointer
// each.
// * packed rows: 16 rows as the right side of a product: [depth / 32] tiles of 16 pairs of depth x
//   16 rows.
// * packed values: [positions / 32][width / 16] tiles of 16 pairs of positions x 16 columns.
#pragma once

#include <cstdint>

namespace fathom {

inline constexpr int32_t kSpan = 256;        // positions
inline constexpr int32_t kSpanBlocks = 8;    // that callers attend at a time
inline constexpr int32_t kSpanQueries = 16;  // of a block
inline constexpr int32_t kGroup = 16;        // positions that share a pointer
inline constexpr int32_t kSpanGroups = kSpan / kGroup;

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// bf16 rows of the positions of one span.
struct SpanRows {
  const uint16_t* groups[kSpanGroups];  // of 16 positions; all are readable
  int64_t stride;                       // of a position, in elements
  int32_t count;                        // positions
};

// What 16 queries know after some spans: largest score (scaled) and sum of probabilities relative
// to it, one of each per query, and sums of values [16, width] that are not yet divided.
struct BlockState {
  float* largest;
  float* sum;
  float* sums;
  int32_t width;  // a multiple of 16
};

struct SpanAttendParams {
  const uint16_t* queries;  // packed rows of depth_tiles
  int32_t depth_tiles;
  SpanRows keys;           // rows of at least 32 * depth_tiles values
  const uint16_t* values;  // packed; rows that no query sees are zeros
  const int32_t* seen;     // [16]: how many positions of the span each query sees
  float scale;
  BlockState out;  // overwritten
};

// One span's latents through one head's weights.
struct SpanExpandParams {
  SpanRows latents;
  int32_t depth_tiles;
  const uint16_t* weights;         // packed rows, 16 outputs after another: keys, then values
  int32_t key_tiles, value_tiles;  // outputs / 16
  uint16_t* keys;                  // rows
  int64_t key_stride;
  uint16_t* values;  // packed
};

// out [16, width] = left x right, over steps of 32.
struct SpanProduct {
  const uint16_t* left;   // [steps] tiles of 16 rows x 32, from pack_left
  const uint16_t* right;  // packed values of 32 * steps positions
  int32_t steps, width;   // width a multiple of 16
  float* out;
};

struct SpanKernel {
  // Rows [count <= 16, width] as packed rows; what is missing is zero.
  void (*pack_rows)(const float* x, int64_t stride, int32_t count, int32_t width, uint16_t* out);
  // Rows [count <= 16, width] as the left side of a product; what is missing is zero.
  void (*pack_left)(const float* x, int64_t stride, int32_t count, int32_t width, uint16_t* out);
  void (*product)(const SpanProduct&);
  // The first `width` columns of rows as packed values, width rounded up to 32; missing positions
  // are zeros up to a multiple of 32.
  void (*pack_values)(const SpanRows& rows, int32_t width, uint16_t* out);
  // One 8-bit latent (ops.h) as a bf16 row, width rounded up to 32.
  void (*widen_latent)(const uint8_t* from, int32_t rank, int32_t rope, uint16_t* out);
  void (*expand)(const SpanExpandParams&);
  // Each block for itself; several at a time are faster.
  void (*attend)(const SpanAttendParams* blocks, int32_t count);
  // Adds a later span. A query that saw nothing of it (largest -inf) keeps its bits.
  void (*merge)(const BlockState& state, const BlockState& more);
};

// Null when this build has no such file.
const SpanKernel* span_kernel_amx();

}  // namespace fathom
