// Does AVX2 multiply e4m3 as bytes.h says, to the bit? The sums it promises are taken here one
// column after the other, and compared at every edge of groups, tiles, runs, panels and blocks of
// scales; a row of weights whose scales do not fit is judged by its other way.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "naive.h"

namespace fathom {
namespace {

using naive::linear;
using naive::Machine;

// Columns of a step in the order in which a lane takes its four: lane i those of 4 i + ...
constexpr int32_t kTaken[4] = {0, 2, 1, 3};

const float* scales_of(const Weight& w, int32_t o) {
  return w.scale + (o + w.scale_row) / 128 * w.scale_stride;
}

// Are the scales of row o, and the matrix, such that x takes the scales?
bool x_takes_scales(const Weight& w, int32_t o) {
  if (w.cols % 32 != 0 || w.scale_col % 32 != 0) return false;
  for (int32_t k = 0; k < w.cols; ++k) {
    const float s = std::abs(scales_of(w, o)[(k + w.scale_col) / 128]);
    if (s != 0 && !(s >= 0x1p-60f && s <= 0x1p40f)) return false;
  }
  return true;
}

float promised(const float* x, const naive::Owned& w, int32_t o) {
  const bool scaled = x_takes_scales(w.view, o);
  float lanes[8] = {};
  for (int32_t step = 0; step < w.view.cols; step += 32)
    for (const int32_t taken : kTaken)
      for (int32_t i = 0; i < 8; ++i) {
        const int32_t k = step + 4 * i + taken;
        if (k >= w.view.cols) continue;
        const uint8_t code = w.bytes[static_cast<size_t>(o * w.view.row_stride + k)];
        const auto q = static_cast<float>(naive::decode_bits(code, 4, 3, 7));
        const float scale = scales_of(w.view, o)[(k + w.view.scale_col) / 128];
        lanes[i] = scaled ? std::fma(q * 0x1p-120f, x[k] * (scale * 0x1p75f), lanes[i])
                          : std::fma(q * scale, x[k], lanes[i]);
      }
  for (const int32_t half : {4, 2, 1})
    for (int32_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return scaled ? lanes[0] * 0x1p45f : lanes[0];
}

// Equal, or no number both.
bool same(const std::vector<float>& y, const std::vector<float>& x, int32_t rows,
          const naive::Owned& w) {
  for (int32_t r = 0; r < rows; ++r)
    for (int32_t o = 0; o < w.view.rows; ++o) {
      const float a = y[static_cast<size_t>(r * w.view.rows + o)];
      const float b = promised(x.data() + r * w.view.cols, w, o);
      if (a != b && !(std::isnan(a) && std::isnan(b))) return false;
    }
  return true;
}

class Bytes : public testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_ops_named("avx2")) GTEST_SKIP() << "no AVX2 here";
  }
};

TEST_F(Bytes, every_bit_is_that_of_the_promised_sums) {
  const Machine m("avx2");
  uint32_t seed = 1;
  for (const int32_t cols : {1, 32, 33, 128, 416, 1'056, 2'080})
    for (const int32_t outs : {1, 3, 5, 35, 133})
      for (const int32_t skew : {0, 32, 37}) {
        const auto w = naive::random_weight(DType::f8_e4m3, outs, cols, seed++, skew);
        const auto x = naive::random_floats(static_cast<size_t>(21 * cols), seed++);
        for (int32_t rows = 1; rows <= 21; rows += outs > 40 ? 9 : rows > 14 ? 4 : 1)
          ASSERT_TRUE(same(linear(m, x, rows, w.view), x, rows, w))
              << rows << 'x' << outs << 'x' << cols << " skew " << skew;
      }
}

TEST_F(Bytes, long_rows_take_several_runs) {
  const Machine m("avx2");
  const auto w = naive::random_weight(DType::f8_e4m3, 11, 7'168, 3);
  const auto x = naive::random_floats(static_cast<size_t>(14 * 7'168), 4);
  for (int32_t rows = 1; rows <= 14; rows += rows < 7 ? 1 : 7)
    ASSERT_TRUE(same(linear(m, x, rows, w.view), x, rows, w)) << rows;
}

TEST_F(Bytes, under_bfloat16_x_is_rounded_and_weights_are_not) {
  const Machine m("avx2", 1, Compute::bfloat16);
  for (const int32_t rows : {1, 2, 3, 7, 13}) {
    const auto w = naive::random_weight(DType::f8_e4m3, 39, 1'120, 3, 32);
    auto x = naive::random_floats(static_cast<size_t>(rows * 1'120), 4);
    const auto y = linear(m, x, rows, w.view);
    for (float& v : x) v = naive::rounded_bf16(v);
    ASSERT_TRUE(same(y, x, rows, w)) << rows;
  }
}

TEST_F(Bytes, a_nan_byte_at_any_place_makes_its_own_output_nan_and_no_other) {
  const Machine m("avx2");
  for (const int32_t cols : {272, 288})
    for (const int32_t rows : {1, 2, 3, 8, 14}) {
      constexpr int32_t kOuts = 5;
      auto w = naive::random_weight(DType::f8_e4m3, kOuts, cols, 7);
      const auto x = naive::random_floats(static_cast<size_t>(rows) * static_cast<size_t>(cols), 8);
      const auto clean = linear(m, x, rows, w.view);
      for (int32_t at = 0; at < kOuts * cols; ++at) {
        const uint8_t was = w.bytes[static_cast<size_t>(at)];
        w.bytes[static_cast<size_t>(at)] = at % 2 ? 0x7F : 0xFF;
        const auto y = linear(m, x, rows, w.view);
        w.bytes[static_cast<size_t>(at)] = was;
        for (int32_t i = 0; i < rows * kOuts; ++i) {
          const auto j = static_cast<size_t>(i);
          const bool right = i % kOuts == at / cols ? std::isnan(y[j]) : y[j] == clean[j];
          ASSERT_TRUE(right) << "byte " << at << ", output " << i;
        }
      }
    }
}

TEST_F(Bytes, every_code_and_scales_of_any_size_give_the_promised_sums) {
  const Machine m("avx2");
  auto w = naive::random_weight(DType::f8_e4m3, 6, 512, 9);
  for (size_t i = 0; i < w.bytes.size(); ++i) {
    const auto q = static_cast<uint8_t>(i * 7);
    w.bytes[i] = (q & 0x7F) == 0x7F ? uint8_t{0x01} : q;
  }
  for (const float scale :
       {1.0f, 0.037f, 0.0f, 0x1p-60f, 1e-30f, 1e-42f, 0x1p40f, 0x1.8p40f, 1e30f, -3.0f,
        std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (const int32_t rows : {1, 2, 3, 9, 14}) {
      for (float& s : w.scales) s = scale;
      const auto x = naive::random_floats(static_cast<size_t>(rows) * 512, 10);
      ASSERT_TRUE(same(linear(m, x, rows, w.view), x, rows, w)) << scale << ' ' << rows;
    }
}

// Which way a row of weights takes depends on its own block of scales, not on its neighbours'.
TEST_F(Bytes, a_block_whose_scales_do_not_fit_changes_no_bit_of_the_others) {
  const Machine m("avx2");
  auto w = naive::random_weight(DType::f8_e4m3, 300, 256, 11);
  const auto x = naive::random_floats(size_t{9} * 256, 12);
  const auto before = linear(m, x, 9, w.view);
  w.scales[static_cast<size_t>(w.view.scale_stride)] = 1e30f;  // rows 128 to 255
  const auto after = linear(m, x, 9, w.view);
  EXPECT_TRUE(same(after, x, 9, w));
  for (int32_t i = 0; i < 9 * 300; ++i) {
    if (i % 300 >= 128 && i % 300 < 256) continue;
    ASSERT_EQ(before[static_cast<size_t>(i)], after[static_cast<size_t>(i)]) << i;
  }
}

// x * scale has to stay below 2^53; what does not is seen, not wrong.
TEST_F(Bytes, activations_beyond_all_measure_leave_no_finite_number) {
  const Machine m("avx2");
  auto w = naive::random_weight(DType::f8_e4m3, 4, 64, 13);
  for (auto& code : w.bytes) code = 0x38;  // 1
  for (float& s : w.scales) s = 1.0f;
  std::vector<float> x(64, 0.5f);
  EXPECT_EQ(linear(m, x, 1, w.view)[0], 32.0f);
  x[5] = 0x1p50f;
  EXPECT_EQ(linear(m, x, 1, w.view)[0], 0x1p50f);
  x[5] = 0x1p53f;
  EXPECT_FALSE(std::isfinite(linear(m, x, 1, w.view)[0]));
}

}  // namespace
}  // namespace fathom
