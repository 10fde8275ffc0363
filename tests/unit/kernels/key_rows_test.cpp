// Does AVX2 add up key rows of kv_b as key_rows.h says, to the bit? The chains it promises are
// taken here one row of weights after the other, for any number of queries; what it says it can not
// take is just what it can not.
#include "kernels/cpu/key_rows.h"

#include <gtest/gtest.h>

#include <cmath>

#include "naive.h"

namespace fathom {
namespace {

float stored(const naive::Owned& w, int32_t row, int32_t col) {
  const auto at = static_cast<size_t>(row * w.view.row_stride + col);
  if (w.view.dtype == DType::f8_e4m3)
    return static_cast<float>(naive::decode_bits(w.bytes[at], 4, 3, 7));
  return static_cast<float>(w.at(row, col));
}

// q[i] times key row `first` + i, one after the other.
float promised(const float* q, const naive::Owned& w, int32_t first, int32_t count, int32_t col) {
  float sum = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (w.view.dtype == DType::bf16) {
      sum = std::fma(stored(w, first + i, col), q[i], sum);
      continue;
    }
    const float scale = w.view.scale[(first + i + w.view.scale_row) / 128 * w.view.scale_stride +
                                     (col + w.view.scale_col) / 128];
    sum = std::fma(stored(w, first + i, col) * 0x1p-120f, q[i] * (scale * 0x1p75f), sum);
  }
  return w.view.dtype == DType::bf16 ? sum : sum * 0x1p45f;
}

std::vector<float> multiply(const naive::Owned& w, int32_t first, int32_t count,
                            const std::vector<float>& q, int32_t rows) {
  const auto scratch = make_scratch();
  std::vector<float> z(static_cast<size_t>(rows) * static_cast<size_t>(w.view.cols), -1.0f);
  multiply_key_rows(
      {.w = w.view,
       .first = first,
       .count = count,
       .q = q.data(),
       .q_stride = count,
       .rows = rows,
       .z = z.data(),
       .z_stride = w.view.cols,
       .workspace =
           scratch->take_span<float>(static_cast<size_t>(key_rows_floats(w.view, count))).data()});
  return z;
}

class KeyRowsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_ops_named("avx2")) GTEST_SKIP() << "no AVX2 here";
  }
};

TEST_F(KeyRowsTest, every_bit_is_that_of_the_promised_chains) {
  uint32_t seed = 1;
  for (const DType dtype : {DType::bf16, DType::f8_e4m3})
    for (const int32_t cols : {32, 128, 160, 512})
      for (const auto& [first, count] : {std::pair{0, 1}, {3, 7}, {100, 128}, {0, 130}, {250, 12}})
        for (const int32_t skew : {0, 32, 96}) {
          auto w = naive::random_weight(dtype, 270, cols, seed++, skew);
          ASSERT_TRUE(key_rows_fit(w.view, first, count));
          for (int32_t rows = 1; rows <= 8; ++rows) {
            const auto q = naive::random_floats(
                static_cast<size_t>(rows) * static_cast<size_t>(count), seed++);
            const auto z = multiply(w, first, count, q, rows);
            for (int32_t r = 0; r < rows; ++r)
              for (int32_t j = 0; j < cols; ++j)
                ASSERT_EQ(
                    z[static_cast<size_t>(r) * static_cast<size_t>(cols) + static_cast<size_t>(j)],
                    promised(&q[static_cast<size_t>(r) * static_cast<size_t>(count)], w, first,
                             count, j))
                    << naive::name_of(dtype) << " rows " << rows << ", " << count << " of " << cols
                    << " skew " << skew << " at " << r << ", " << j;
          }
        }
}

// One latent that is no number leaves none of a head's scores: so all of its row may go.
TEST_F(KeyRowsTest, a_nan_byte_leaves_no_number_in_its_head_and_all_in_others) {
  auto w = naive::random_weight(DType::f8_e4m3, 20, 64, 7);
  const auto q = naive::random_floats(size_t{2} * 10, 8);
  for (const size_t at : {size_t{0}, size_t{9 * 64 + 63}, size_t{4 * 64 + 17}}) {
    const uint8_t was = w.bytes[at];
    w.bytes[at] = at % 2 ? 0x7F : 0xFF;
    for (const float v : multiply(w, 0, 10, q, 2)) ASSERT_TRUE(std::isnan(v));
    for (const float v : multiply(w, 10, 10, q, 2)) ASSERT_FALSE(std::isnan(v));
    w.bytes[at] = was;
  }
}

TEST_F(KeyRowsTest, what_can_not_be_taken_is_said_beforehand) {
  EXPECT_FALSE(key_rows_fit(naive::random_weight(DType::bf16, 8, 33, 1).view, 0, 8));
  EXPECT_FALSE(key_rows_fit(naive::random_weight(DType::f16, 8, 64, 1).view, 0, 8));
  EXPECT_FALSE(key_rows_fit(naive::random_weight(DType::f8_e4m3, 8, 64, 1, 37).view, 0, 8));
  auto w = naive::random_weight(DType::f8_e4m3, 300, 256, 1);
  w.scales[static_cast<size_t>(w.view.scale_stride) + 1] = 1e30f;  // rows 128 to 255
  EXPECT_TRUE(key_rows_fit(w.view, 0, 128));
  EXPECT_FALSE(key_rows_fit(w.view, 0, 129));
  EXPECT_FALSE(key_rows_fit(w.view, 255, 10));
  EXPECT_TRUE(key_rows_fit(w.view, 256, 44));
}

}  // namespace
}  // namespace fathom
