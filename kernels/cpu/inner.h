// Which loops differ between instruction sets? Only these. The operations (linear.cpp,
// attention.cpp, ...) are written once over this table, so threading, tiling at absolute positions
// and the order of sums can not differ; an instruction set fills it in inner_<name>.cpp. Each
// function's result for one row depends on that row alone.
//
// A dot product is summed in 16 lanes: element k goes to lane k % 16, lanes are added as a tree (i
// + 8, i + 4, i + 2, i + 1). With packed bf16 the lane of k is (k / 2) % 16, as the machine's
// paired product has it.
#pragma once

#include <cstdint>

#include "kernels/cpu/column_kernel.h"
#include "kernels/cpu/span_kernel.h"
#include "kernels/tensor.h"

namespace fathom {

// Rows of activations, ready to be multiplied: float32, or bf16 bits with rows padded by zeros
// to 32.
struct Rows {
  const void* data = nullptr;
  int64_t stride = 0;  // elements
  int32_t count = 0;
  bool packed = false;
};

struct DotsParams {  // y[r, o] = sum_k x[r, k] w[first + o, k] for o in [0, outs)
  Rows x;
  Weight w;
  int32_t first = 0;
  int32_t outs = 0;
  bool round = false;  // weights are rounded to bf16 after widening; always on when x is packed
  float* y = nullptr;
  int64_t y_stride = 0;
  float* panel = nullptr;  // workspace of panel_floats(w.cols)
};

struct CombineParams {  // z[r, j] += sum_t p[r, t] c[t, j], t ascending
  const float* p = nullptr;
  int64_t p_stride = 0;
  int32_t rows = 0;
  const float* c = nullptr;
  int64_t c_stride = 0;
  int32_t depth = 0;  // t
  int32_t width = 0;  // j
  float* z = nullptr;
  int64_t z_stride = 0;
};

// State of one row's softmax over the tiles seen so far: largest score and sum of exp(score -
// largest).
struct SoftmaxState {
  float largest;
  float sum;
};

struct Inner {
  const char* name;
  bool packs_bf16;  // multiplies packed bf16 rows; otherwise bfloat16 means rounded float32 values
  void (*dots)(const DotsParams&);
  void (*combine)(const CombineParams&);
  // out[i] = w[row, i] as float32 (FP8: times its scale), rounded to bf16 if asked.
  void (*widen)(const Weight& w, int32_t row, bool round, float* out);
  // out[i] = bf16 bits of x[i]; zeros up to padded.
  void (*pack)(const float* x, int32_t n, int32_t padded, uint16_t* out);
  float (*sum_squares)(const float* x, int32_t n);
  void (*scale_by)(const float* x, const float* w, float factor, int32_t n,
                   float* out);  // w * (x * factor)
  void (*swiglu)(const float* gate, const float* up, int32_t n, float* out);
  // One more tile of n scores: s becomes exp(s * scale - largest), the state moves on, and what
  // must multiply the row's earlier sums is returned.
  float (*softmax_tile)(float* s, int32_t n, float scale, SoftmaxState* state);
  void (*multiply)(float* x, float factor, int32_t n);
  void (*add)(float* x, const float* y, int64_t n);
  void (*axpy)(float* x, float factor, const float* y, int32_t n);  // x += factor * y
  // Nothing but `steps` rounds of multiply-adds in registers; returns their number, to know the
  // peak by.
  int64_t (*burst)(int64_t steps, float* sink);
  // Attention under bfloat16 by whole spans; null where there are no matrix tiles.
  const SpanKernel* spans = nullptr;
  // The same with paired products of bf16; null where there are none.
  int64_t (*burst_pairs)(int64_t steps, float* sink) = nullptr;
  // Attention with queries as columns; null where a vector of sums over depth is as good.
  const ColumnKernel* columns = nullptr;
};

inline constexpr int32_t kPanelRows = 32;
constexpr int64_t panel_floats(int32_t cols) {
  return int64_t{kPanelRows} * ((cols + 31) / 32 * 32);
}

extern const Inner kInnerPortable;

// Null when this build has no such file.
const Inner* inner_avx2();
const Inner* inner_avx512(bool has_bf16_dot);
const Inner* inner_amx();

}  // namespace fathom
