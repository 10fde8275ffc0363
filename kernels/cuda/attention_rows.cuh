// Which context does an attending row have? Row i of the tables is row k of its run and sees the
// positions 0 .. position + k of that run's block table.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda {

struct RowContext {
  int32_t row = 0;      // into q and out
  int32_t context = 0;  // positions it attends to; 0: the row is padding
  const BlockIndex* blocks = nullptr;
};

__device__ inline RowContext context_of(const AttentionTables& t, int32_t i) {
  const int32_t run = t.row_runs[i];
  // The first row of the run: row_runs ascends.
  int32_t low = 0, high = i;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    if (t.row_runs[middle] < run)
      low = middle + 1;
    else
      high = middle;
  }
  const AttentionRun r = t.runs[run];
  const int32_t k = i - low;
  return {r.first_row + k, r.position < 0 ? 0 : r.position + k + 1, t.blocks + r.first_block};
}

}  // namespace fathom::cuda
