#include "model/draft_head.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace fathom {
namespace {

constexpr float kE4m3Max = 448;

float widen(uint16_t bf16) { return std::bit_cast<float>(static_cast<uint32_t>(bf16) << 16); }

// One block of the matrix: the largest magnitude becomes 448.
float narrow_block(const uint16_t* from, int64_t from_stride, int32_t rows, int32_t cols,
                   uint8_t* to, int64_t to_stride) {
  float largest = 0;
  for (int32_t r = 0; r < rows; ++r)
    for (int32_t c = 0; c < cols; ++c)
      largest = std::max(largest, std::abs(widen(from[r * from_stride + c])));
  const float scale = largest > 0 ? largest / kE4m3Max : 1;
  for (int32_t r = 0; r < rows; ++r)
    for (int32_t c = 0; c < cols; ++c)
      to[r * to_stride + c] =
          narrow_e4m3(std::clamp(widen(from[r * from_stride + c]) / scale, -kE4m3Max, kE4m3Max));
  return scale;
}

}  // namespace

uint8_t narrow_e4m3(float value) {
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >> 24 & 0x80);
  const float magnitude = std::abs(value);
  // Below 2^-6 the step is 2^-9 throughout.
  if (magnitude < 0x1p-6f)
    return static_cast<uint8_t>(sign | static_cast<uint8_t>(std::nearbyint(magnitude * 0x1p9f)));
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = (bits + 0x7FFFF + (bits >> 20 & 1)) >> 20;
  return static_cast<uint8_t>(sign | static_cast<uint8_t>(rounded - ((127 - 7) << 3)));
}

DraftHead::DraftHead(const Weight& lm_head) : weight_(lm_head) {
  if (lm_head.dtype != DType::bf16) return;
  const int32_t rows = lm_head.rows, cols = lm_head.cols;
  const int32_t across = (cols + kScaleBlock - 1) / kScaleBlock;
  values_.resize(static_cast<size_t>(rows) * static_cast<size_t>(cols));
  scales_.reserve(static_cast<size_t>((rows + kScaleBlock - 1) / kScaleBlock) *
                  static_cast<size_t>(across));
  const auto* from = static_cast<const uint16_t*>(lm_head.data);
  for (int32_t r = 0; r < rows; r += kScaleBlock)
    for (int32_t c = 0; c < cols; c += kScaleBlock)
      scales_.push_back(narrow_block(
          from + r * lm_head.row_stride + c, lm_head.row_stride, std::min(kScaleBlock, rows - r),
          std::min(kScaleBlock, cols - c), values_.data() + int64_t{r} * cols + c, cols));
  weight_ = {.data = values_.data(),
             .dtype = DType::f8_e4m3,
             .rows = rows,
             .cols = cols,
             .row_stride = cols,
             .scale = scales_.data(),
             .scale_stride = across};
}

}  // namespace fathom
