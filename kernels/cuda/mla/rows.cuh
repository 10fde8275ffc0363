// Which positions does an attending row see, and which pieces of work come of it? The tables of a
// step (AttentionTables) as the kernels of fast absorbed attention read them.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mla/split.h"
#include "kernels/ops.h"

namespace fathom::cuda::mla {

// One attending row: its place in q and out, the positions [0, limit) it sees (none when it pads
// the batch), its table of blocks.
struct Attending {
  int32_t row = 0, limit = 0, first_block = 0;
};

// Row `at` of tables.rows_total. Rows of one run stand together, so the place within the run is the
// distance to its first row: a step back at a time for the first few (decode rows), then by
// halving.
__device__ __forceinline__ Attending attending(const AttentionTables& tables, int at) {
  const int run = tables.row_runs[at];
  int first = at;
  for (int steps = 0; steps < 4 && first > 0 && tables.row_runs[first - 1] == run; ++steps) --first;
  if (first > 0 && tables.row_runs[first - 1] == run) {
    int low = 0;
    while (low < first) {
      const int middle = (low + first) / 2;
      if (tables.row_runs[middle] == run)
        first = middle;
      else
        low = middle + 1;
    }
  }
  const AttentionRun r = tables.runs[run];
  const int within = at - first;
  return {r.first_row + within, r.position < 0 ? 0 : r.position + within + 1, r.first_block};
}

// One split of one row.
struct __align__(16) Item {
  int32_t at = 0;           // attending row
  int32_t begin = 0;        // its first position
  int32_t end = 0;          // behind its last one
  int32_t first_block = 0;  // of the row's table
};
// The items of one row.
struct __align__(16) RowItems {
  int32_t first = 0, count = 0;  // within the items of its batch of rows
  int32_t row = 0;               // in out
  int32_t unused = 0;
};
__device__ __forceinline__ Item load_item(const Item* items, int i) {
  const int4 v = *reinterpret_cast<const int4*>(items + i);
  return {v.x, v.y, v.z, v.w};
}
__device__ __forceinline__ RowItems load_row(const RowItems* rows, int i) {
  const int4 v = *reinterpret_cast<const int4*>(rows + i);
  return {v.x, v.y, v.z, v.w};
}

// What the kernels hand to each other, all in device memory. Rows are taken `rows_at_once` at a
// time: a batch of rows has its own list of items and its own count.
struct Plan {
  RowItems* rows = nullptr;   // [rows_total]
  Item* items = nullptr;      // [batches, rows_at_once * most_splits]
  int32_t* counts = nullptr;  // [batches]
  int32_t rows_at_once = 0, most_splits = 0, batches = 0, split = 0;
};

}  // namespace fathom::cuda::mla
