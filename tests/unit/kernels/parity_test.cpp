// Does AVX2's way of taking even and odd lanes apart keep every bit of the lanes that inner.h
// promises? Its products are compared with `dots`, which knows nothing of packed rows, panels and
// runs, at every edge that these have. (e4m3 has lanes of its own: bytes_test.cpp.)
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/inner.h"
#include "naive.h"

namespace fathom {
namespace {

using naive::linear;
using naive::Machine;

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
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const int32_t cols : {1, 15, 16, 17, 48, 128, 400, 1023, 1024, 1040, 2064})
      for (const int32_t outs : {1, 2, 3, 35, 37, 41, 76}) {
        const auto w = naive::random_weight(dtype, outs, cols, seed++);
        const auto x = naive::random_floats(static_cast<size_t>(14 * cols), seed++);
        for (int32_t rows = 1; rows <= 14; rows += outs > 40 ? 3 : 1)
          ASSERT_TRUE(same(linear(m, x, rows, w.view), dots(x, rows, w.view, false)))
              << naive::name_of(dtype) << ' ' << rows << 'x' << outs << 'x' << cols;
      }
}

TEST_F(Parity, the_number_of_rows_shows_in_no_bit) {
  const Machine m("avx2");
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const int32_t cols : {80, 576, 2050, 4176}) {
      const int32_t outs = 74;
      const auto w = naive::random_weight(dtype, outs, cols, static_cast<uint32_t>(cols));
      const auto x = naive::random_floats(size_t{40} * static_cast<size_t>(cols), 5);
      const auto all = dots(x, 40, w.view, false);
      for (int32_t rows = 1; rows <= 40; ++rows)
        ASSERT_TRUE(same(linear(m, x, rows, w.view), {all.begin(), all.begin() + rows * outs}))
            << naive::name_of(dtype) << ' ' << rows << " x " << cols;
    }
}

TEST_F(Parity, under_bfloat16_x_and_weights_are_rounded) {
  const Machine m("avx2", 1, Compute::bfloat16);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const int32_t rows : {1, 2, 3, 7, 13}) {
      const auto w = naive::random_weight(dtype, 39, 1100, 3);
      auto x = naive::random_floats(static_cast<size_t>(rows * 1100), 4);
      const auto y = linear(m, x, rows, w.view);
      for (float& v : x) v = naive::rounded_bf16(v);
      ASSERT_TRUE(same(y, dots(x, rows, w.view, true))) << naive::name_of(dtype) << ' ' << rows;
    }
}

}  // namespace
}  // namespace fathom
