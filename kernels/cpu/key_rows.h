// How do decoding queries pass the key rows of kv_b where a vector holds eight floats? Here a query
// is no dot product: its sum over key rows is one row of latents, z[j] = sum_i q[i] * w[i, j]. Some
// rows of weights are multiplied as they are stored, 32 columns at a time, and added to the same
// four vectors of z, which stay in L1 meanwhile; so kv_b is read once, in the order of memory, and
// nothing is widened into memory. Each z[j] is one chain of fused multiply-adds in ascending order
// of i: of bf16 the bits are those of widening first.
//
// e4m3 is taken as bytes.h says: y = 2^45 * sum (code * 2^-120) * (q * (scale * 2^75)).
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace fathom {

inline constexpr int32_t kKeyRowsTile = 3;  // queries that pass side by side

struct KeyRows {  // z[r, j] = sum_i q[r, i] w[first + i, j] for i in [0, count)
  Weight w;
  int32_t first = 0, count = 0;
  const float* q = nullptr;
  int64_t q_stride = 0;
  int32_t rows = 0;  // of q
  float* z = nullptr;
  int64_t z_stride = 0;
  float* workspace = nullptr;  // of key_rows_floats()
};

constexpr int64_t key_rows_floats(const Weight& w, int32_t count) {
  return kKeyRowsTile * (int64_t{w.cols} + count * (int64_t{w.cols} / kScaleBlock + 2));
}

// Whether these rows can be taken so: bf16, or e4m3 whose scales x can carry; whole steps of 32
// columns. It depends on the matrix alone. False where a build has no AVX2.
bool key_rows_fit(const Weight& w, int32_t first, int32_t count);
void multiply_key_rows(const KeyRows&);

}  // namespace fathom
