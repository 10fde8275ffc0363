// Does AVX2's way of taking even and odd lanes apart keep every bit of the lanes that inner.h
// promises? Its products are compared with `dots`, which knows nothing of packed rows, panels, runs
// and bytes decoded in registers, at every edge that these have.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/inner.h"
#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

std::vector<float> linear(const Machine& m, const std::vector<float>& x, int32_t rows,
                          const Weight& w) {
  std::vector<float> y(static_cast<size_t>(rows * w.rows));
  m.ops.linear(m.ctx, {.x = x.data(),
                       .x_stride = w.cols,
                       .rows = rows,
                       .weight = w,
                       .y = y.data(),
                       .y_stride = w.rows});
  return y;
}

// The same by the loops that everything else is built on.
std::vector<float> dots(const std::vector<float>& x, int32_t rows, const Weight& w, bool round) {
  std::vector<float> y(static_cast<size_t>(rows * w.rows)),
      panel(static_cast<size_t>(panel_floats(w.cols)));
  inner_avx2()->dots({.x = {x.data(), w.cols, rows, false},
                      .w = w,
                      .first = 0,
                      .outs = w.rows,
                      .round = round,
                      .y = y.data(),
                      .y_stride = w.rows,
                      .panel = panel.data()});
  return y;
}

// Bits, except that one NaN is as good as another.
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i]) && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  return true;
}

class Parity : public testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_ops_named("avx2")) GTEST_SKIP() << "no AVX2 here";
  }
};

TEST_F(Parity, every_bit_is_that_of_the_sixteen_lanes) {
  const Machine m("avx2");
  uint32_t seed = 1;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3})
    for (const int32_t cols : {1, 15, 16, 17, 48, 128, 400, 1023, 1024, 1040, 2064})
      for (const int32_t outs : {1, 2, 3, 35, 37, 41, 76})
        for (const int32_t skew : {0, 16, 37}) {
          if (skew != 0 && dtype != DType::f8_e4m3) continue;
          const auto w = naive::random_weight(dtype, outs, cols, seed++, skew);
          const auto x = naive::random_floats(static_cast<size_t>(14 * cols), seed++);
          for (int32_t rows = 1; rows <= 14; rows += outs > 40 ? 3 : 1)
            ASSERT_TRUE(same(linear(m, x, rows, w.view), dots(x, rows, w.view, false)))
                << naive::name_of(dtype) << ' ' << rows << 'x' << outs << 'x' << cols << " skew "
                << skew;
        }
}

TEST_F(Parity, under_bfloat16_x_is_rounded_and_of_weights_only_those_of_f32_and_f16) {
  const Machine m("avx2", 1, Compute::bfloat16);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3})
    for (const int32_t rows : {1, 2, 3, 7, 13}) {
      const auto w = naive::random_weight(dtype, 39, 1100, 3, 16);
      auto x = naive::random_floats(static_cast<size_t>(rows * 1100), 4);
      const auto y = linear(m, x, rows, w.view);
      for (float& v : x) v = naive::rounded_bf16(v);
      ASSERT_TRUE(same(y, dots(x, rows, w.view, dtype != DType::f8_e4m3)))
          << naive::name_of(dtype) << ' ' << rows;
    }
}

TEST_F(Parity, a_nan_byte_at_any_place_makes_its_own_output_nan_and_no_other) {
  const Machine m("avx2");
  constexpr int32_t kCols = 272, kOuts = 5;
  for (const int32_t rows : {1, 2, 3, 8}) {
    auto w = naive::random_weight(DType::f8_e4m3, kOuts, kCols, 7);
    const auto x = naive::random_floats(static_cast<size_t>(rows * kCols), 8);
    const auto clean = linear(m, x, rows, w.view);
    for (int32_t at = 0; at < kOuts * kCols; ++at) {
      const uint8_t was = w.bytes[static_cast<size_t>(at)];
      w.bytes[static_cast<size_t>(at)] = at % 2 ? 0x7F : 0xFF;
      const auto y = linear(m, x, rows, w.view);
      w.bytes[static_cast<size_t>(at)] = was;
      for (int32_t i = 0; i < rows * kOuts; ++i)
        if (i % kOuts == at / kCols)
          ASSERT_TRUE(std::isnan(y[static_cast<size_t>(i)])) << "byte " << at;
        else
          ASSERT_EQ(y[static_cast<size_t>(i)], clean[static_cast<size_t>(i)]) << "byte " << at;
    }
  }
}

TEST_F(Parity, bytes_of_every_code_and_scales_of_any_size_are_decoded_as_stored) {
  const Machine m("avx2");
  auto w = naive::random_weight(DType::f8_e4m3, 6, 512, 9);
  for (size_t i = 0; i < w.bytes.size(); ++i) {
    const auto q = static_cast<uint8_t>(i * 7);
    w.bytes[i] = (q & 0x7F) == 0x7F ? uint8_t{0x01} : q;
  }
  for (const float scale :
       {1.0f, 0.037f, 1e-30f, 1e-42f, 127.9f, 128.0f, 1e30f, -3.0f,
        std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (const int32_t rows : {1, 2, 3, 9}) {
      for (float& s : w.scales) s = scale;
      const auto x = naive::random_floats(static_cast<size_t>(rows * 512), 10);
      ASSERT_TRUE(same(linear(m, x, rows, w.view), dots(x, rows, w.view, false)))
          << scale << ' ' << rows;
    }
}

}  // namespace
}  // namespace fathom
