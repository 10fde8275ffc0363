// What does a GPU multiply under Compute::fp8? Codes and scales are those of the CPU bit for bit;
// products are held to double precision as closely as Hopper's tensor cores add codes (about 14
// bits of the largest number added, 128 k at a time); a row's bits are its own.
#include <limits>
#include <random>

#include "on_gpu.h"

namespace fathom {
namespace {

struct Shape {
  int32_t rows, outs, cols;
  int32_t first_row =
      0;              // of the weight inside its first block of 128; the tensor cores take 0, 64
  int32_t apart = 0;  // of rows of codes, beyond the columns; whole steps of 16 for tensor cores
};

naive::Owned weight_of(const Shape& s, uint32_t seed) {
  naive::Owned w;
  const int64_t stride = s.cols + s.apart;
  const int64_t scale_rows = (s.outs + s.first_row + 127) / 128, scale_cols = (s.cols + 127) / 128;
  w.bytes = naive::random_weight(DType::f8_e4m3, s.outs, static_cast<int32_t>(stride), seed).bytes;
  w.scales = naive::random_floats(static_cast<size_t>(scale_rows * scale_cols), seed + 1, 0.01f);
  w.view = {.data = w.bytes.data(),
            .dtype = DType::f8_e4m3,
            .rows = s.outs,
            .cols = s.cols,
            .row_stride = stride,
            .scale = w.scales.data(),
            .scale_stride = scale_cols,
            .scale_row = s.first_row};
  return w;
}

class QuantisedOnGpu : public OnGpu {
 protected:
  // Scratch is not a number, and so is what stands between rows of y.
  std::vector<float> multiply(const Shape& s, const void* x, DType x_dtype, const Weight& w) {
    scratch->reset();
    void* dirt = scratch->take(4 << 20);
    device->upload(dirt, std::vector<uint8_t>(4 << 20, 0xFF).data(), 4 << 20);
    const int64_t stride = s.outs + (s.outs % 4 == 0 ? 4 : 3);
    const auto count = static_cast<size_t>(s.rows * stride);
    auto* y = room<float>(count);
    ops().linear(context(Compute::fp8), {.x = x,
                                         .x_dtype = x_dtype,
                                         .x_stride = s.cols,
                                         .rows = s.rows,
                                         .weight = w,
                                         .y = y,
                                         .y_stride = stride});
    const auto wide = get(y, count);
    std::vector<float> out;
    for (int32_t r = 0; r < s.rows; ++r) {
      const auto row = wide.begin() + r * stride;
      out.insert(out.end(), row, row + s.outs);
      for (int32_t pad = s.outs; pad < stride; ++pad) EXPECT_TRUE(std::isnan(row[pad]));
    }
    return out;
  }

  void check(const Shape& s, bool x_bf16, uint32_t seed) {
    SCOPED_TRACE(testing::Message() << s.rows << 'x' << s.outs << 'x' << s.cols << " from row "
                                    << s.first_row << " x_bf16 " << x_bf16);
    const auto w = weight_of(s, seed);
    auto x = naive::random_floats(static_cast<size_t>(s.rows * s.cols), seed + 7);
    if (x_bf16)
      for (float& v : x) v = naive::rounded_bf16(v);
    const void* there = x_bf16 ? static_cast<const void*>(put(as_bf16(x))) : put(x);
    const auto y = multiply(s, there, x_bf16 ? DType::bf16 : DType::f32, put(w.view));
    const bool tensors = s.first_row % 64 == 0;
    std::mt19937 generator(seed);
    const int32_t tries = std::min(s.outs, 200'000 / s.cols / s.rows + 1);  // of each row
    for (int32_t r = 0; r < s.rows; ++r) {
      const auto quantised = naive::quantised(&x[static_cast<size_t>(r * s.cols)], s.cols);
      for (int32_t i = 0; i < tries; ++i) {
        const auto o = static_cast<int32_t>(generator() % static_cast<uint32_t>(s.outs));
        const auto want = naive::dot(quantised.data(), w, o, Compute::float32);
        ASSERT_NEAR(y[static_cast<size_t>(r * s.outs + o)], want.value,
                    (tensors ? 0x1p-11 : 4e-6) * want.size + 1e-30)
            << "row " << r << " output " << o;
      }
    }
  }
};

TEST_F(QuantisedOnGpu, linear_multiplies_codes_and_both_scales) {
  uint32_t seed = 40;
  for (const Shape& s : {Shape{1, 64, 128},
                         {8, 128, 128},
                         {3, 17, 15},
                         {9, 130, 96},
                         {17, 70, 200},
                         {33, 65, 136, 64},
                         {63, 128, 640, 0, 16},
                         {70, 192, 72},
                         {40, 300, 1000},
                         {129, 130, 384},
                         {20, 60, 300, 37},
                         {2, 40, 130, 90, 3}})
    for (const bool x_bf16 : {false, true}) check(s, x_bf16, seed++);
}

TEST_F(QuantisedOnGpu, every_code_and_scale_is_the_cpus) {
  for (const int32_t cols : {256, 200}) {
    const Shape s{40, cols, cols};
    naive::Owned w = weight_of(s, 1);
    std::fill(w.bytes.begin(), w.bytes.end(), uint8_t{0});
    std::fill(w.scales.begin(), w.scales.end(), 1.0f);
    for (int32_t k = 0; k < cols; ++k) w.bytes[static_cast<size_t>(k * cols + k)] = 0x38;  // 1
    auto x = naive::random_floats(static_cast<size_t>(s.rows * cols), 3);
    for (int32_t k = 0; k < cols; ++k) x[static_cast<size_t>(k)] = 0;             // a row of zeros
    for (int32_t k = 0; k < 128; ++k) x[static_cast<size_t>(cols + k)] *= 1e-7f;  // a tiny block
    for (int32_t k = 0; k < cols; ++k) x[static_cast<size_t>(2 * cols + k)] *= 1e9f;
    const auto y = multiply(s, put(x), DType::f32, put(w.view));
    for (int32_t r = 0; r < s.rows; ++r) {
      const auto want = naive::quantised(&x[static_cast<size_t>(r * cols)], cols);
      for (int32_t k = 0; k < cols; ++k)
        ASSERT_EQ(y[static_cast<size_t>(r * cols + k)], want[static_cast<size_t>(k)])
            << "row " << r << " column " << k;
    }
  }
}

// Tensor cores that add codes for longer than 128 k lose digits with every product they add.
TEST_F(QuantisedOnGpu, a_long_sum_of_positive_numbers_keeps_its_digits) {
  for (const int32_t outs : {64, 4096}) {  // K in parts, and whole
    const Shape s{2, outs, 4096};
    naive::Owned w = weight_of(s, 5);
    for (uint8_t& code : w.bytes) code &= 0x7F;
    for (float& scale : w.scales) scale = 0.01f;
    auto x = naive::random_floats(static_cast<size_t>(s.rows * s.cols), 6);
    for (float& v : x) v = std::abs(v);
    const auto y = multiply(s, put(x), DType::f32, put(w.view));
    for (int32_t r = 0; r < s.rows; ++r) {
      const auto quantised = naive::quantised(&x[static_cast<size_t>(r * s.cols)], s.cols);
      for (int32_t o = 0; o < 20; ++o) {
        const auto want = naive::dot(quantised.data(), w, o, Compute::float32);
        ASSERT_NEAR(y[static_cast<size_t>(r * outs + o)], want.value, 0x1p-7 * want.value);
      }
    }
  }
}

// Batches that take every shape of tile.
TEST_F(QuantisedOnGpu, row_has_the_same_bits_in_every_batch) {
  for (const auto& [outs, cols] : {std::pair{200, 1152}, {70, 300}, {4200, 256}}) {
    const int32_t rows = outs > 4000 ? 150 : 300;
    const Shape s{rows, outs, cols};
    const auto w = put(weight_of(s, 9).view);
    const auto x = naive::random_floats(static_cast<size_t>(rows * cols), 10);
    const float* there = put(x);
    const auto whole = multiply(s, there, DType::f32, w);
    for (const int32_t n : {1, 7, 9, 17, 33, 65, 129}) {
      const int32_t begin = (rows - n) / 2 / 4 * 4;
      const auto y = multiply({n, outs, cols}, there + int64_t{begin} * cols, DType::f32, w);
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t at = static_cast<size_t>(begin) * static_cast<size_t>(outs) + i;
        ASSERT_EQ(y[i], whole[at]) << n << " rows from " << begin << " of " << outs << 'x' << cols;
      }
    }
  }
}

TEST_F(QuantisedOnGpu, what_is_no_number_leaves_none_in_its_row_or_output) {
  const Shape s{40, 140, 640};
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto w = weight_of(s, 11);
    w.bytes[3 * 640 + 100] = 0x7F;
    auto x = naive::random_floats(static_cast<size_t>(s.rows * s.cols), 12);
    x[4 * 640 + 639] = bad;
    const auto y = multiply(s, put(x), DType::f32, put(w.view));
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(std::isfinite(y[i]), i / 140 != 4 && i % 140 != 3) << i;
  }
}

TEST_F(QuantisedOnGpu, other_weights_are_those_of_bfloat16) {
  const auto w = naive::random_weight(DType::bf16, 128, 256, 1);
  const auto x = put(naive::random_floats(9 * 256, 2));
  const Weight there = put(w.view);
  std::vector<std::vector<float>> y;
  for (const Compute compute : {Compute::fp8, Compute::bfloat16}) {
    auto* out = room<float>(9 * 128);
    ops().linear(context(compute),
                 {.x = x, .x_stride = 256, .rows = 9, .weight = there, .y = out, .y_stride = 128});
    y.push_back(get(out, 9 * 128));
  }
  EXPECT_EQ(y[0], y[1]);
}

// Codes that an operation writes beside its rows: multiplied, they give the bits of the rows
// themselves, though x is not there any more.
class WrittenCodes : public QuantisedOnGpu {
 protected:
  QuantisedRows codes_of(int32_t rows, int32_t width) {
    QuantisedRows out{.stride = (width + 15) / 16 * 16, .scale_stride = (rows + 127) / 128 * 128};
    out.codes = room<uint8_t>(static_cast<size_t>(rows * out.stride));
    out.scales = room<float>(static_cast<size_t>((width + 127) / 128 * out.scale_stride));
    return out;
  }
  void expect_codes_of(const void* x, DType dtype, int32_t rows, int32_t width,
                       const QuantisedRows& codes) {
    const Shape s{rows, 96, width};
    const Weight w = put(weight_of(s, 21).view);
    const auto product = [&](const void* from, const QuantisedRows& of) {
      auto* y = room<float>(static_cast<size_t>(rows * s.outs));
      ops().linear(context(Compute::fp8), {.x = from,
                                           .x_dtype = dtype,
                                           .x_stride = width,
                                           .rows = rows,
                                           .weight = w,
                                           .codes = of,
                                           .y = y,
                                           .y_stride = s.outs});
      return get(y, static_cast<size_t>(rows * s.outs));
    };
    const auto want = product(x, {});
    const void* nothing = room<float>(static_cast<size_t>(rows * width));
    EXPECT_EQ(product(nothing, codes), want) << rows << " rows of " << width;
    for (const float v : want) ASSERT_TRUE(std::isfinite(v));
  }
};

TEST_F(WrittenCodes, of_norms_are_those_of_the_rows_they_write) {
  for (const int32_t width : {256, 200, 130, 1100})
    for (const DType type : {DType::bf16, DType::f32}) {  // of the weight; the second is rare
      const int32_t rows = 5;
      const auto values = naive::random_floats(static_cast<size_t>(rows * width), 3);
      const Weight weight = put(naive::random_weight(type, 1, width, 4).view);
      auto* x = put(values);
      auto* out = room<uint16_t>(values.size());
      // What all three have in common.
      const auto normalise = [&](auto norm, const auto& how) {
        norm.weight = weight;
        norm.rows = rows;
        norm.width = width;
        norm.out = out;
        norm.out_dtype = DType::bf16;
        norm.out_stride = width;
        norm.codes = codes_of(rows, width);
        how(norm);
        expect_codes_of(out, DType::bf16, rows, width, norm.codes);
      };
      const auto ctx = context(Compute::fp8);
      const RmsNormParams of_x = {.x = x, .x_stride = width};
      normalise(of_x, [&](const auto& norm) { ops().rms_norm(ctx, norm); });
      normalise(AddNormParams{.x = x, .add = put(values)},
                [&](const auto& norm) { ops().add_norm(ctx, norm); });
      normalise(of_x, [&](const auto& norm) { ops().mla_prepare(ctx, {.q = norm, .latent = {}}); });
    }
}

TEST_F(WrittenCodes, of_swiglu_are_those_of_the_rows_it_writes) {
  for (const int32_t width : {256, 200, 131, 2100}) {
    const int32_t rows = 3;
    const auto count = static_cast<size_t>(rows * width);
    auto* out = room<uint16_t>(count);
    const QuantisedRows codes = codes_of(rows, width);
    ops().swiglu(context(Compute::fp8), {.gate = put(naive::random_floats(count, 5)),
                                         .up = put(naive::random_floats(count, 6)),
                                         .in_stride = width,
                                         .rows = rows,
                                         .width = width,
                                         .out = out,
                                         .out_dtype = DType::bf16,
                                         .out_stride = width,
                                         .codes = codes});
    expect_codes_of(out, DType::bf16, rows, width, codes);
  }
}

}  // namespace
}  // namespace fathom
