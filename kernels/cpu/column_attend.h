// How do some queries attend to a tile of positions as columns (column_kernel.h)? Scores, softmax
// and sums of values, for up to sixteen queries that share its keys: rows of one head, heads that
// share latents, or a group's heads of some rows.
#pragma once

#include "kernels/cpu/inner.h"

namespace fathom::cpu {

struct ColumnTile {
  const float* keys;  // [positions, key_row], of which `key` count
  int64_t key_row;
  int32_t key;
  const float* values;  // as ColumnProduct::c
  int64_t value_step, value_strip;
  int32_t value;  // a multiple of 8
};

struct ColumnQueries {
  const float* strip;  // [key, kColumns]
  int32_t count;
  const int32_t* seen;  // [count]: positions of the tile, ascending
  float scale;
  SoftmaxState* states;  // [count]
  float* sums;           // [count, sums_row]
  int64_t sums_row;
  bool fresh;  // sums hold nothing yet
};

// `scores` is workspace for [seen by the last query, kColumns]. Memory in `fetch` and `more` comes
// near meanwhile.
inline void attend_columns(const ColumnKernel& kernel, const ColumnTile& tile,
                           const ColumnQueries& queries, float* scores,
                           const ColumnFetch& fetch = {}, const ColumnFetch& more = {}) {
  const int32_t positions = queries.seen[queries.count - 1];
  float shrink[kColumns];
  kernel.product({.a = tile.keys,
                  .a_row = tile.key_row,
                  .rows = positions,
                  .depth = tile.key,
                  .c = queries.strip,
                  .columns = queries.count > 8 ? kColumns : 8,
                  .z = scores,
                  .fetch = fetch});
  kernel.softmax({.scores = scores,
                  .count = positions,
                  .columns = queries.count,
                  .seen = queries.seen,
                  .scale = queries.scale,
                  .states = queries.states,
                  .shrink = shrink});
  kernel.product({.a = scores,
                  .a_step = kColumns,
                  .rows = queries.count,
                  .depth = positions,
                  .c = tile.values,
                  .c_step = tile.value_step,
                  .c_strip = tile.value_strip,
                  .columns = tile.value,
                  .z = queries.sums,
                  .z_row = queries.sums_row,
                  .z_strip = kColumns,
                  .keep = queries.fresh ? nullptr : shrink,
                  .fetch = more});
}

}  // namespace fathom::cpu
