// Is the FP8 copy of a head as near as e4m3 allows, with whole and partial blocks?
#include "model/draft_head.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace fathom {
namespace {

float value_of(uint8_t e4m3) {
  const int exponent = e4m3 >> 3 & 15, mantissa = e4m3 & 7;
  const double magnitude =
      exponent == 0 ? mantissa * 0x1p-9 : std::ldexp(8 + mantissa, exponent - 10);
  return static_cast<float>(e4m3 & 0x80 ? -magnitude : magnitude);
}

TEST(DraftHead, every_e4m3_number_stays_what_it_is) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F) continue;
    EXPECT_EQ(narrow_e4m3(value_of(static_cast<uint8_t>(code))), code);
  }
}

TEST(DraftHead, a_number_between_two_becomes_the_nearest_and_a_tie_the_even_one) {
  for (int code = 0; code < 0x7E; ++code) {
    const float low = value_of(static_cast<uint8_t>(code)),
                high = value_of(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(narrow_e4m3(middle), code % 2 == 0 ? code : code + 1) << code;
    EXPECT_EQ(narrow_e4m3(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(narrow_e4m3(std::nextafter(middle, 500.0f)), code + 1);
  }
}

TEST(DraftHead, values_times_scales_are_within_a_sixteenth) {
  constexpr int32_t kRows = 300, kCols = 200, kStride = 208;
  std::mt19937 dice(3);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<uint16_t> bf16(kRows * kStride);
  for (auto& v : bf16) v = static_cast<uint16_t>(std::bit_cast<uint32_t>(normal(dice)) >> 16);
  const DraftHead head({.data = bf16.data(),
                        .dtype = DType::bf16,
                        .rows = kRows,
                        .cols = kCols,
                        .row_stride = kStride});
  const Weight& w = head.weight();
  ASSERT_EQ(w.dtype, DType::f8_e4m3);
  for (int32_t r = 0; r < kRows; ++r)
    for (int32_t c = 0; c < kCols; ++c) {
      const float scale = w.scale[(r / kScaleBlock) * w.scale_stride + c / kScaleBlock];
      const float got = scale * value_of(static_cast<const uint8_t*>(w.data)[r * w.row_stride + c]);
      const float want = std::bit_cast<float>(
          static_cast<uint32_t>(bf16[static_cast<size_t>(r * kStride + c)]) << 16);
      ASSERT_NEAR(got, want, std::abs(want) / 16 + scale * 0x1p-10f) << r << ", " << c;
    }
}

TEST(DraftHead, another_type_is_used_as_stored) {
  const std::vector<float> values(4, 1.0f);
  const Weight stored{.data = values.data(), .rows = 2, .cols = 2, .row_stride = 2};
  EXPECT_EQ(DraftHead(stored).weight().data, stored.data);
}

}  // namespace
}  // namespace fathom
