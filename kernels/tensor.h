// What does a kernel see? Views: bare pointers with shapes, never owners. Activations are float32,
// row-major; weights stay as they are stored in the checkpoint.
#pragma once

#include <cstdint>

namespace fathom {

// i8 is for caches of latents only (ops.h): it carries its scales along.
enum class DType : uint8_t { f32, bf16, f16, f8_e4m3, i8 };

constexpr int64_t dtype_bytes(DType t) {
  return t == DType::f32 ? 4 : t == DType::f8_e4m3 || t == DType::i8 ? 1 : 2;
}

inline constexpr int kScaleBlock = 128;

// A weight [rows, cols] as stored: y = x W^T reads it row by row. A view of some rows or columns of
// a larger matrix carries its place inside the 128x128 scale blocks along, so any slice of an FP8
// matrix stays right.
struct Weight {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int32_t rows = 0;        // outputs
  int32_t cols = 0;        // inputs
  int64_t row_stride = 0;  // elements
  // FP8 only: W[o, i] = q[o, i] * scale[((o + scale_row) / 128) * scale_stride + (i + scale_col) /
  // 128].
  const float* scale = nullptr;
  int64_t scale_stride = 0;
  int32_t scale_row = 0;  // < 128
  int32_t scale_col = 0;  // < 128

  Weight slice_rows(int32_t begin, int32_t count) const {
    Weight w = *this;
    w.data = static_cast<const char*>(data) + begin * row_stride * dtype_bytes(dtype);
    w.rows = count;
    if (dtype == DType::f8_e4m3) {
      const int32_t at = scale_row + begin;
      if (scale) w.scale = scale + (at / kScaleBlock) * scale_stride;
      w.scale_row = at % kScaleBlock;
    }
    return w;
  }
  Weight slice_cols(int32_t begin, int32_t count) const {
    Weight w = *this;
    w.data = static_cast<const char*>(data) + begin * dtype_bytes(dtype);
    w.cols = count;
    if (dtype == DType::f8_e4m3) {
      const int32_t at = scale_col + begin;
      if (scale) w.scale = scale + at / kScaleBlock;
      w.scale_col = at % kScaleBlock;
    }
    return w;
  }
};

}  // namespace fathom
