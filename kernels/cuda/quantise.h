// How are rows quantised for Compute::fp8 on a GPU? By a launch of their own, or by the operation
// that makes them (norm.cu, rows.cu): both round as quantise.cuh does, so they have the same bits.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda {

// Rows of float32 or bf16 on the device, `stride` elements apart.
struct PlainRows {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int64_t stride = 0;
  int32_t rows = 0, width = 0;
};

// Tiles of the tensor cores fetch scales of as many rows as they have, at most this.
inline constexpr int32_t kScaleRows = 128;
constexpr int64_t scale_stride_for(int64_t rows) {
  return (rows + kScaleRows - 1) / kScaleRows * kScaleRows;
}

void quantise_into(const OpContext& ctx, const char* operation, const PlainRows& x,
                   const QuantisedRows& out);
// Codes and scales in scratch, strides as copies want them.
QuantisedRows quantise(const OpContext& ctx, const char* operation, const PlainRows& x);
// code * scale, [rows, width] dense; may be x itself where that is float32.
void quantise_in_float(const OpContext& ctx, const char* operation, const PlainRows& x, float* out);

}  // namespace fathom::cuda
