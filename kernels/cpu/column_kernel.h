// What does attention need where a register holds eight floats? Products in which a query is a
// column: then its scores, its softmax and its state lie in one lane from beginning to end. Nothing
// is ever added across lanes, a tile of 6 x 2 registers holds twelve chains at once, and keys and
// latents are multiplied as they lie in the cache, position by position. Every element is one chain
// of fused multiply-adds in ascending order, so neither the cut of rows, columns and depth nor the
// other columns show in its bits.
#pragma once

#include <cstdint>

namespace fathom {

inline constexpr int32_t kColumns = 16;  // of a strip: two registers

// Memory that is read next: rows of some bytes.
struct ColumnFetch {
  const char* data = nullptr;
  int32_t rows = 0;
  int64_t bytes = 0, stride = 0;  // of a row; between rows
};

// z[i, j] = keep[i] * z[i, j] + sum_k a[i, k] c[k, j]. Columns lie in strips of kColumns.
struct ColumnProduct {
  const float* a = nullptr;  // a[i * a_row + k * a_step]; one of the two is 1
  int64_t a_row = 1, a_step = 1;
  int32_t rows = 0, depth = 0;
  const float* c = nullptr;  // column j of strip s: c[s * c_strip + k * c_step + j]
  int64_t c_step = kColumns, c_strip = 0;
  int32_t columns = 0;  // a multiple of 8
  float* z = nullptr;   // z[s * z_strip + i * z_row + j]
  int64_t z_row = kColumns, z_strip = 0;
  const float* keep = nullptr;  // [rows]; null: z held nothing
  ColumnFetch fetch;            // brought near while the products are taken
};

struct SoftmaxState;

// One more tile of scores: they become exp(score * scale - largest), and 0 where a query does not
// see the position; states move on.
struct ColumnSoftmax {
  float* scores = nullptr;  // [count, kColumns]
  int32_t count = 0;
  int32_t columns = 0;            // queries, at most kColumns
  const int32_t* seen = nullptr;  // [columns]: a query sees positions before this one
  float scale = 1.0f;
  SoftmaxState* states = nullptr;  // [columns]
  float* shrink = nullptr;         // [kColumns]: what must multiply a query's earlier sums
};

struct ColumnKernel {
  void (*product)(const ColumnProduct&);
  void (*softmax)(const ColumnSoftmax&);
  // Rows become columns of a strip: out[k * kColumns + i] = x[i * stride + k] for i < rows; up to
  // the next multiple of 8 the last row is repeated.
  void (*strip)(const float* x, int64_t stride, int32_t rows, int32_t cols, float* out);
};

// Null when this build has no such file.
const ColumnKernel* column_kernel_avx2();

}  // namespace fathom
