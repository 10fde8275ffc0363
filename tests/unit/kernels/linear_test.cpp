// Does `linear` multiply right for every stored type, shape, slice and instruction set, and are a
// row's bits its own? Values are held to double-precision sums; bits are compared exactly across
// batches and threads.
#include <gtest/gtest.h>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

struct Case {
  DType dtype;
  int32_t rows, outs, cols, skew;
};

const Case kCases[] = {
    {DType::f32, 1, 1, 1, 0},           {DType::f32, 3, 17, 15, 1},
    {DType::f32, 70, 33, 100, 0},       {DType::bf16, 1, 5, 16, 0},
    {DType::bf16, 2, 64, 33, 3},        {DType::bf16, 37, 70, 192, 0},
    {DType::bf16, 9, 130, 96, 0},       {DType::bf16, 64, 48, 320, 2},
    {DType::f16, 5, 19, 70, 0},         {DType::f16, 8, 16, 128, 4},
    {DType::f8_e4m3, 1, 40, 192, 0},    {DType::f8_e4m3, 4, 200, 300, 0},
    {DType::f8_e4m3, 7, 70, 64, 96},    {DType::f8_e4m3, 33, 150, 256, 37},
    {DType::f8_e4m3, 70, 31, 129, 120}, {DType::f8_e4m3, 1, 16, 40, 64},
    {DType::bf16, 7, 40, 2500, 0},      {DType::f32, 4, 35, 1030, 0},
    {DType::f8_e4m3, 13, 70, 1200, 96}, {DType::f8_e4m3, 3, 300, 1100, 0},
    {DType::f8_e4m3, 2, 9, 513, 0},     {DType::bf16, 17, 47, 31, 0},
    {DType::bf16, 40, 100, 1000, 0},    {DType::bf16, 70, 65, 420, 1},
    {DType::bf16, 100, 37, 800, 0},     {DType::f16, 90, 33, 410, 0},
    {DType::f32, 33, 31, 95, 2},        {DType::f8_e4m3, 16, 130, 500, 41},
    {DType::f8_e4m3, 40, 48, 31, 90},   {DType::f8_e4m3, 66, 300, 420, 77},
    {DType::f8_e4m3, 97, 35, 800, 3},   {DType::bf16, 81, 3, 8300, 0},
};

std::vector<float> multiply(const Machine& m, const std::vector<float>& x, const Case& c,
                            const Weight& w, bool exact = false) {
  return naive::linear(m, x, c.rows, w, exact);
}

class Linear : public testing::TestWithParam<std::tuple<std::string, Compute>> {};

TEST_P(Linear, equals_the_double_precision_product) {
  const auto [table, compute] = GetParam();
  uint32_t seed = 100;
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message()
                 << naive::name_of(c.dtype) << ' ' << c.rows << 'x' << c.outs << 'x' << c.cols);
    const auto w = naive::random_weight(c.dtype, c.outs, c.cols, seed++, c.skew);
    const auto x = naive::random_floats(static_cast<size_t>(c.rows * c.cols), seed++);
    const Machine m(table.c_str(), 1, compute);
    const auto y = multiply(m, x, c, w.view);
    for (int32_t r = 0; r < c.rows; ++r)
      for (int32_t o = 0; o < c.outs; ++o) {
        const auto want = naive::dot(&x[static_cast<size_t>(r * c.cols)], w, o, compute,
                                     naive::exact_fp8(table, c.dtype));
        ASSERT_NEAR(y[static_cast<size_t>(r * c.outs + o)], want.value, 1e-6 * want.size + 1e-30)
            << "row " << r << " output " << o;
      }
  }
}

TEST_P(Linear, row_has_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads) {
  const auto [table, compute] = GetParam();
  uint32_t seed = 900;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3})
    for (const Case& shape : {Case{dtype, 37, 75, 333, 11}, Case{dtype, 37, 256, 192, 0},
                              Case{dtype, 37, 600, 448, 0}, Case{dtype, 37, 45, 2200, 0}}) {
      const auto w = naive::random_weight(dtype, shape.outs, shape.cols, seed++, shape.skew);
      const auto x = naive::random_floats(static_cast<size_t>(shape.rows * shape.cols), seed++);
      const auto whole = multiply(Machine(table.c_str(), 1, compute), x, shape, w.view);
      for (const int threads : {2, 3})
        ASSERT_EQ(whole, multiply(Machine(table.c_str(), threads, compute), x, shape, w.view))
            << threads;
      const Machine one(table.c_str(), 1, compute);
      for (int32_t begin = 0, n = 1; begin < shape.rows; begin += n, n = n % 9 + 1) {
        const int32_t count = std::min(n, shape.rows - begin);
        const std::vector<float> part(x.begin() + begin * shape.cols,
                                      x.begin() + (begin + count) * shape.cols);
        const auto y = multiply(one, part, {dtype, count, shape.outs, shape.cols, 0}, w.view);
        ASSERT_TRUE(std::equal(y.begin(), y.end(), whole.begin() + begin * shape.outs))
            << naive::name_of(dtype) << " rows " << begin << "+" << count;
      }
    }
}

TEST_P(Linear, slices_of_an_fp8_matrix_give_the_whole_matrix) {
  const auto [table, compute] = GetParam();
  const Machine m(table.c_str(), 1, compute);
  const auto w = naive::random_weight(DType::f8_e4m3, 300, 400, 5, 50);
  const auto x = naive::random_floats(3 * 400, 6);
  const auto whole = multiply(m, x, {DType::f8_e4m3, 3, 300, 400, 0}, w.view);
  for (const auto& [begin, count] : {std::pair{0, 77}, {77, 130}, {207, 93}}) {
    const auto part =
        multiply(m, x, {DType::f8_e4m3, 3, count, 400, 0}, w.view.slice_rows(begin, count));
    for (int32_t r = 0; r < 3; ++r)
      for (int32_t o = 0; o < count; ++o)
        ASSERT_EQ(part[static_cast<size_t>(r * count + o)],
                  whole[static_cast<size_t>(r * 300 + begin + o)]);
  }
  std::vector<float> sum(3 * 300);
  for (const auto& [begin, count] : {std::pair{0, 90}, {90, 201}, {291, 109}}) {
    std::vector<float> cut;
    for (int32_t r = 0; r < 3; ++r)
      cut.insert(cut.end(), x.begin() + r * 400 + begin, x.begin() + r * 400 + begin + count);
    const auto part =
        multiply(m, cut, {DType::f8_e4m3, 3, 300, count, 0}, w.view.slice_cols(begin, count));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  for (size_t i = 0; i < sum.size(); ++i)
    ASSERT_NEAR(sum[i], whole[i], 1e-3 + 1e-5 * std::abs(whole[i]));
}

// Codes of zero, subnormals and NaN are rare in real weights, and an instruction set may decode the
// others faster: every one of those must be right as well.
TEST_P(Linear, fp8_weights_that_are_all_normal_are_decoded_right) {
  const auto [table, compute] = GetParam();
  for (const int32_t rows : {1, 3, 70}) {
    const Case c{DType::f8_e4m3, rows, 66, 400, 0};
    auto w = naive::random_weight(c.dtype, c.outs, c.cols, 8, 50);
    for (uint8_t& q : w.bytes)
      if ((q & 0x78) == 0) q |= 0x30;
    const auto x = naive::random_floats(static_cast<size_t>(rows * c.cols), 9);
    const auto y = multiply(Machine(table.c_str(), 1, compute), x, c, w.view);
    for (int32_t r = 0; r < rows; ++r)
      for (int32_t o = 0; o < c.outs; ++o) {
        const auto want = naive::dot(&x[static_cast<size_t>(r * c.cols)], w, o, compute,
                                     naive::exact_fp8(table, c.dtype));
        ASSERT_NEAR(y[static_cast<size_t>(r * c.outs + o)], want.value, 1e-6 * want.size);
      }
  }
}

TEST_P(Linear, every_number_of_rows_gives_the_bits_of_each_row_alone) {
  const auto [table, compute] = GetParam();
  const Machine m(table.c_str(), 1, compute);
  for (const DType dtype : {DType::bf16, DType::f8_e4m3}) {
    const auto w = naive::random_weight(dtype, 37, 150, 4, 90);
    const auto x = naive::random_floats(100 * 150, 5);
    std::vector<float> alone;
    for (int32_t r = 0; r < 100; ++r) {
      const std::vector<float> row(x.begin() + r * 150, x.begin() + (r + 1) * 150);
      const auto y = multiply(m, row, {dtype, 1, 37, 150, 0}, w.view);
      alone.insert(alone.end(), y.begin(), y.end());
    }
    for (int32_t n = 2; n <= 100; n = n < 40 ? n + 1 : n + 12) {
      const auto y = multiply(m, x, {dtype, n, 37, 150, 0}, w.view);
      ASSERT_TRUE(std::equal(y.begin(), y.end(), alone.begin())) << n << " rows";
    }
  }
}

TEST_P(Linear, exact_products_ignore_bfloat16) {
  const auto [table, compute] = GetParam();
  const Case c{DType::bf16, 5, 16, 192, 0};
  const auto w = naive::random_weight(c.dtype, c.outs, c.cols, 1);
  const auto x = naive::random_floats(static_cast<size_t>(c.rows * c.cols), 2);
  EXPECT_EQ(multiply(Machine(table.c_str(), 1, compute), x, c, w.view, true),
            multiply(Machine(table.c_str(), 1, Compute::float32), x, c, w.view));
}

TEST_P(Linear, fp8_nan_stays_nan) {
  const auto [table, compute] = GetParam();
  for (const int32_t rows : {1, 40}) {
    auto w = naive::random_weight(DType::f8_e4m3, 20, 256, 1);
    w.bytes[3 * 256 + 100] = 0x7F;
    w.bytes[4 * 256 + 7] = 0xFF;
    const std::vector<float> x(static_cast<size_t>(rows * 256), 1.0f);
    const auto y =
        multiply(Machine(table.c_str(), 1, compute), x, {DType::f8_e4m3, rows, 20, 256, 0}, w.view);
    for (int32_t o = 0; o < 20; ++o)
      EXPECT_EQ(std::isnan(y[static_cast<size_t>(o)]), o == 3 || o == 4) << o;
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, Linear,
                         testing::Combine(testing::ValuesIn(naive::tables()),
                                          testing::Values(Compute::float32, Compute::bfloat16)),
                         [](const auto& tested) {
                           return std::get<0>(tested.param) +
                                  (std::get<1>(tested.param) == Compute::float32 ? "_float32"
                                                                                 : "_bfloat16");
                         });

}  // namespace
}  // namespace fathom
