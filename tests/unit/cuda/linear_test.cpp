// Does a GPU's `linear` multiply right for every stored type, shape, stride and slice, and are a
// row's bits its own? Values are held to double-precision sums; bits are compared exactly between
// batches, so between all tile shapes the number of rows chooses from.
#include <random>

#include "on_gpu.h"

namespace fathom {
namespace {

struct Case {
  DType dtype;
  int32_t rows, outs, cols, skew;
};

class LinearOnGpu : public OnGpu {
 protected:
  // y with 3 or 4 floats between rows (askew, or aligned as the copy engine wants it), which must
  // stay poison.
  std::vector<float> multiply(const Case& c, const void* x, DType x_dtype, int64_t x_stride,
                              const Weight& w, Compute compute, bool exact = false) {
    const int64_t stride = c.outs + (c.outs % 4 == 0 ? 4 : 3);
    auto* y = room<float>(static_cast<size_t>(c.rows * stride));
    ops().linear(context(compute), {.x = x,
                                    .x_dtype = x_dtype,
                                    .x_stride = x_stride,
                                    .rows = c.rows,
                                    .weight = w,
                                    .y = y,
                                    .y_stride = stride,
                                    .exact = exact});
    const auto wide = get(y, static_cast<size_t>(c.rows * stride));
    std::vector<float> out;
    for (int32_t r = 0; r < c.rows; ++r) {
      const auto row = wide.begin() + r * stride;
      out.insert(out.end(), row, row + c.outs);
      for (int32_t pad = c.outs; pad < stride; ++pad) EXPECT_TRUE(std::isnan(row[pad]));
    }
    return out;
  }

  // Some outputs against double precision: all of a small product, a sample of a large one.
  void check(const Case& c, const std::vector<float>& y, const std::vector<float>& x,
             const naive::Owned& w, Compute compute, bool scales_sums) {
    std::mt19937 generator(chosen_seed());
    const int64_t all = int64_t{c.rows} * c.outs;
    const int64_t tries = std::min<int64_t>(all, 300'000 / c.cols + 1);
    for (int64_t i = 0; i < tries; ++i) {
      const int64_t at = tries == all ? i : static_cast<int64_t>(generator()) % all;
      const auto r = static_cast<int32_t>(at / c.outs), o = static_cast<int32_t>(at % c.outs);
      const auto want =
          naive::dot(&x[static_cast<size_t>(int64_t{r} * c.cols)], w, o, compute, scales_sums);
      ASSERT_NEAR(y[static_cast<size_t>(at)], want.value, 4e-6 * want.size + 1e-30)
          << "row " << r << " output " << o;
    }
  }

  void try_case(const Case& c, Compute compute, bool exact, bool x_bf16, uint32_t seed) {
    SCOPED_TRACE(testing::Message()
                 << naive::name_of(c.dtype) << ' ' << c.rows << 'x' << c.outs << 'x' << c.cols
                 << " skew " << c.skew << " x_bf16 " << x_bf16 << " seed " << seed);
    const auto w = naive::random_weight(c.dtype, c.outs, c.cols, seed, c.skew);
    auto x = naive::random_floats(static_cast<size_t>(int64_t{c.rows} * c.cols), seed + 1);
    if (x_bf16)
      for (float& v : x) v = naive::rounded_bf16(v);
    const void* there = x_bf16 ? static_cast<const void*>(put(as_bf16(x))) : put(x);
    const auto y =
        multiply(c, there, x_bf16 ? DType::bf16 : DType::f32, c.cols, put(w.view), compute, exact);
    const bool whole_blocks = c.skew % 64 == 0 && c.skew * 3 % 128 == 0;
    check(c, y, x, w, exact ? Compute::float32 : compute,
          c.dtype == DType::f8_e4m3 && whole_blocks);
  }

  // Rows alone and in every small batch have the bits they have in one large batch.
  void check_bits(const Case& c, Compute compute, bool exact,
                  std::initializer_list<int32_t> batches) {
    const uint32_t seed = chosen_seed();
    SCOPED_TRACE(testing::Message() << naive::name_of(c.dtype) << ' ' << c.rows << 'x' << c.outs
                                    << 'x' << c.cols << " seed " << seed);
    const auto w = put(naive::random_weight(c.dtype, c.outs, c.cols, seed, c.skew).view);
    const auto x = naive::random_floats(static_cast<size_t>(int64_t{c.rows} * c.cols), seed + 1);
    const uint16_t* there = put(as_bf16(x));
    const auto whole = multiply(c, there, DType::bf16, c.cols, w, compute, exact);
    std::mt19937 generator(seed);
    for (const int32_t n : batches) {
      const auto begin = static_cast<int32_t>(generator() % static_cast<uint32_t>(c.rows - n + 1));
      const Case part = {c.dtype, n, c.outs, c.cols, c.skew};
      const auto y =
          multiply(part, there + int64_t{begin} * c.cols, DType::bf16, c.cols, w, compute, exact);
      int64_t different = 0, first = -1;
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t at = static_cast<size_t>(begin) * static_cast<size_t>(c.outs) + i;
        if (std::memcmp(&y[i], &whole[at], 4) == 0) continue;
        ++different;
        if (first < 0) first = static_cast<int64_t>(i);
      }
      EXPECT_EQ(different, 0) << n << " rows from " << begin << ": first at row " << first / c.outs
                              << " output " << first % c.outs << ", "
                              << y[static_cast<size_t>(std::max<int64_t>(first, 0))];
    }
  }
};

constexpr DType kStored[] = {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3};

TEST_F(LinearOnGpu, smallest_fast_products_are_right) {
  for (const DType dtype : {DType::bf16, DType::f8_e4m3})
    for (const auto& [rows, outs, cols] :
         {std::tuple{1, 64, 128}, {8, 64, 128}, {16, 64, 256}, {1, 64, 8192}, {300, 128, 128}})
      try_case({dtype, rows, outs, cols, 0}, Compute::bfloat16, false, true, chosen_seed());
}

TEST_F(LinearOnGpu, float32_equals_the_double_precision_product) {
  uint32_t seed = chosen_seed();
  for (const DType dtype : kStored)
    for (const auto& [rows, outs, cols, skew] : {std::tuple{1, 1, 1, 0},
                                                 {3, 17, 15, 1},
                                                 {70, 33, 100, 0},
                                                 {2, 64, 33, 3},
                                                 {9, 130, 96, 0},
                                                 {17, 70, 64, 96},
                                                 {129, 150, 256, 37},
                                                 {65, 31, 129, 120},
                                                 {7, 40, 2500, 0},
                                                 {127, 70, 1200, 96},
                                                 {1, 256, 7168, 0},
                                                 {5, 256, 7168, 0},
                                                 {64, 256, 7168, 0},
                                                 {200, 1030, 300, 0},
                                                 {300, 260, 130, 5}})
      for (const bool x_bf16 : {false, true})
        try_case({dtype, rows, outs, cols, skew}, Compute::float32, false, x_bf16, seed++);
}

using Shape = std::tuple<int32_t, int32_t, int32_t, int32_t>;  // rows, outs, cols, skew
const std::vector<Shape> kSmall = {{1, 1, 1, 0},     {3, 17, 15, 1},   {9, 130, 96, 0},
                                   {17, 70, 64, 96}, {33, 65, 136, 0}, {64, 192, 72, 0}};
const std::vector<Shape> kLarge =
    kGpuIsEmulated
        ? std::vector<Shape>{{33, 128, 256, 128}, {65, 70, 520, 0},  {17, 72, 7168, 0},
                             {129, 320, 256, 0},  {257, 70, 512, 0}, {2, 9000, 72, 0},
                             {513, 64, 128, 0},   {1, 64, 7168, 5}}
        : std::vector<Shape>{{63, 128, 640, 128},  {65, 300, 1000, 0}, {127, 200, 7168, 0},
                             {129, 2112, 1536, 0}, {257, 70, 4096, 0}, {300, 9000, 300, 0},
                             {2, 9000, 1000, 0},   {513, 640, 384, 0}, {1, 256, 7168, 5}};

TEST_F(LinearOnGpu, bfloat16_equals_the_double_precision_product) {
  uint32_t seed = chosen_seed();
  std::vector<Shape> shapes = kSmall;
  shapes.insert(shapes.end(), kLarge.begin(), kLarge.end());
  for (const DType dtype : kStored)
    for (const auto& [rows, outs, cols, skew] : shapes)
      for (const bool x_bf16 : {false, true})
        try_case({dtype, rows, outs, cols, skew}, Compute::bfloat16, false, x_bf16, seed++);
}

TEST_F(LinearOnGpu, row_has_the_same_bits_in_every_batch) {
  for (const DType dtype : {DType::bf16, DType::f8_e4m3}) {
    if (kGpuIsEmulated) {
      check_bits({dtype, 40, 72, 7168, 0}, Compute::bfloat16, false, {1, 8, 9, 17, 33});
      check_bits({dtype, 260, 192, 256, 0}, Compute::bfloat16, false,
                 {2, 16, 32, 64, 65, 128, 129, 257});
      continue;
    }
    for (const auto& [outs, cols] :
         {std::pair{200, 7168}, {2112, 1536}, {4224, 768}, {9000, 640}, {8960, 2048}})
      check_bits({dtype, 520, outs, cols, 0}, Compute::bfloat16, false,
                 {1, 2, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 519});
  }
}

TEST_F(LinearOnGpu, row_has_the_same_bits_in_every_batch_exactly) {
  for (const DType dtype : kStored) {
    if (kGpuIsEmulated) {
      check_bits({dtype, 35, 40, 7168, 0}, Compute::bfloat16, true, {1, 4, 5, 17, 33});
      check_bits({dtype, 131, 70, 100, 0}, Compute::float32, false, {1, 16, 17, 128, 129, 130});
      check_bits({dtype, 20, 50, 1025, 41}, Compute::bfloat16, false, {1, 4, 5, 16, 17});
      continue;
    }
    check_bits({dtype, 300, 256, 7168, 0}, Compute::bfloat16, true, {1, 4, 5, 16, 17, 32, 33, 129});
    check_bits({dtype, 300, 1100, 500, 0}, Compute::float32, false, {1, 4, 16, 17, 128, 129, 130});
    check_bits({dtype, 200, 150, 1025, 41}, Compute::bfloat16, false, {1, 4, 5, 16, 17, 129});
  }
}

// Every shape of block that a router's product takes, at sizes that take little time.
TEST_F(LinearOnGpu, small_narrow_products_are_right_and_their_rows_have_the_same_bits) {
  for (const DType dtype : kStored) {
    for (const int32_t rows : {3, 7, 20, 34})
      try_case({dtype, rows, 37, 1100, 0}, Compute::float32, true, rows != 7, chosen_seed());
    check_bits({dtype, 70, 40, 1100, 0}, Compute::bfloat16, true, {1, 4, 5, 16, 17, 32, 33});
  }
  check_bits({DType::bf16, 40, 35, 1025, 41}, Compute::float32, true, {1, 5, 17, 33});
}

TEST_F(LinearOnGpu, rows_may_lie_apart_and_askew) {
  const Case c{DType::bf16, 37, 130, 200, 0};
  const auto w = naive::random_weight(c.dtype, c.outs, c.cols, chosen_seed());
  for (const auto& [stride, offset] : {std::pair{208, 0}, {208, 8}, {203, 0}, {208, 3}}) {
    auto x = naive::random_floats(static_cast<size_t>(c.rows * stride + offset), chosen_seed() + 1);
    for (float& v : x) v = naive::rounded_bf16(v);
    const auto y =
        multiply(c, put(as_bf16(x)) + offset, DType::bf16, stride, put(w.view), Compute::bfloat16);
    std::vector<float> dense;
    for (int32_t r = 0; r < c.rows; ++r)
      dense.insert(dense.end(), x.begin() + r * stride + offset,
                   x.begin() + r * stride + offset + c.cols);
    check(c, y, dense, w, Compute::bfloat16, false);
  }
}

TEST_F(LinearOnGpu, every_fp8_code_is_decoded_right) {
  const Case c{DType::f8_e4m3, 128, 64, 128, 0};
  auto w = naive::random_weight(c.dtype, c.outs, c.cols, 1);
  for (size_t i = 0; i < w.bytes.size(); ++i) {
    w.bytes[i] = static_cast<uint8_t>(i);
    if ((w.bytes[i] & 0x7F) == 0x7F) w.bytes[i] = 0;
  }
  std::vector<float> x(128 * 128);  // row r picks column r
  for (size_t r = 0; r < 128; ++r) x[r * 128 + r] = 1.0f;
  const auto y = multiply(c, put(as_bf16(x)), DType::bf16, 128, put(w.view), Compute::bfloat16);
  for (int32_t r = 0; r < 128; ++r)
    for (int32_t o = 0; o < 64; ++o)
      ASSERT_EQ(y[static_cast<size_t>(r * 64 + o)], static_cast<float>(w.at(o, r)))
          << r << ' ' << o;
}

TEST_F(LinearOnGpu, fp8_nan_stays_nan) {
  for (const int32_t rows : {1, 40, 300})
    for (const Compute compute : {Compute::float32, Compute::bfloat16}) {
      auto w = naive::random_weight(DType::f8_e4m3, 140, 1280, 1);
      w.bytes[3 * 1280 + 100] = 0x7F;
      w.bytes[74 * 1280 + 707] = 0xFF;
      const std::vector<float> x(static_cast<size_t>(rows) * 1280, 1.0f);
      const auto y = multiply({w.view.dtype, rows, 140, 1280, 0}, put(x), DType::f32, 1280,
                              put(w.view), compute);
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(std::isnan(y[i]), i % 140 == 3 || i % 140 == 74) << i;
    }
}

TEST_F(LinearOnGpu, not_a_number_in_one_row_stays_there) {
  for (const DType dtype : {DType::bf16, DType::f8_e4m3})
    for (const int32_t rows : {5, 70, 300}) {
      const auto w = naive::random_weight(dtype, 200, 640, chosen_seed());
      std::vector<float> x(static_cast<size_t>(rows) * 640, 1.0f);
      x[4 * 640 + 639] = NAN;
      const auto y = multiply({dtype, rows, 200, 640, 0}, put(x), DType::f32, 640, put(w.view),
                              Compute::bfloat16);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), i / 200 == 4) << i;
    }
}

}  // namespace
}  // namespace fathom
