// Are norms right on a GPU, alone and after an addition, for every stored type of weight, and are a
// row's bits its own? Held to the formula in double precision.
#include "on_gpu.h"

namespace fathom {
namespace {

using CudaNorm = OnGpu;

// weight * x / sqrt(mean(x^2) + eps) of one row.
std::vector<double> normed(const float* x, const naive::Owned& w, int32_t width, double eps) {
  double squares = 0;
  for (int32_t i = 0; i < width; ++i) squares += double{x[i]} * x[i];
  std::vector<double> out(static_cast<size_t>(width));
  for (int32_t i = 0; i < width; ++i)
    out[static_cast<size_t>(i)] = w.at(0, i) * x[i] / std::sqrt(squares / width + eps);
  return out;
}

double allowed(double want, DType dtype) {
  return (dtype == DType::bf16 ? 4e-3 : 2e-6) * std::abs(want) + 1e-30;
}

TEST_F(CudaNorm, rows_follow_the_formula_for_every_weight_and_output_type) {
  for (const int32_t width : {1, 3, 64, 100, 512, 1536, 1537, 7168, 8195, 20000})
    for (const DType dtype : {DType::bf16, DType::f32, DType::f16, DType::f8_e4m3})
      for (const DType out_dtype : {DType::f32, DType::bf16}) {
        const int32_t rows = width < 2000 ? 65 : 3, stride = width + width % 3,
                      out_stride = width + 5;
        const auto x = naive::random_floats(static_cast<size_t>(rows * stride), 3);
        const auto w = naive::random_weight(dtype, 1, width, 4, width % 2 * 7);
        float* xs = put(x);
        auto* out = room<float>(static_cast<size_t>(rows * out_stride));
        ops().rms_norm(context(), {.x = xs,
                                   .x_stride = stride,
                                   .weight = put(w.view),
                                   .eps = 1e-6f,
                                   .rows = rows,
                                   .width = width,
                                   .out = out,
                                   .out_dtype = out_dtype,
                                   .out_stride = out_stride});
        const auto n = static_cast<size_t>(rows * out_stride);
        const auto got = out_dtype == DType::f32 ? get(out, n) : get_bf16(out, n);
        for (int32_t r = 0; r < rows; ++r) {
          const auto want = normed(&x[static_cast<size_t>(r * stride)], w, width, double{1e-6f});
          for (int32_t i = 0; i < width; ++i) {
            const double v = want[static_cast<size_t>(i)];
            ASSERT_NEAR(got[static_cast<size_t>(r * out_stride + i)], v, allowed(v, out_dtype))
                << width << ' ' << naive::name_of(dtype) << " row " << r << " value " << i;
          }
          for (int32_t i = width; i < out_stride; ++i)
            ASSERT_TRUE(std::isnan(got[static_cast<size_t>(r * out_stride + i)]))
                << "written outside the row";
        }
      }
}

TEST_F(CudaNorm, add_norm_is_add_then_norm_to_the_bit) {
  for (const int32_t width : {1, 37, 512, 2048, 7168, 8196, 16400})
    for (const DType out_dtype : {DType::f32, DType::bf16}) {
      const int32_t rows = 5;
      const auto n = static_cast<size_t>(rows * width);
      const auto x = naive::random_floats(n, 3), more = naive::random_floats(n, 5);
      const auto w = naive::random_weight(DType::bf16, 1, width, 4);
      const Weight weight = put(w.view);
      float* fused = put(x);
      float* plain = put(x);
      float* adds = put(more);
      auto* fused_out = room<uint16_t>(n * 2);
      auto* plain_out = room<uint16_t>(n * 2);
      ops().add_norm(context(), {.x = fused,
                                 .add = adds,
                                 .weight = weight,
                                 .rows = rows,
                                 .width = width,
                                 .out = fused_out,
                                 .out_dtype = out_dtype,
                                 .out_stride = width});
      ops().add(context(), {.x = plain, .y = adds, .count = static_cast<int64_t>(n)});
      ops().rms_norm(context(), {.x = plain,
                                 .x_stride = width,
                                 .weight = weight,
                                 .rows = rows,
                                 .width = width,
                                 .out = plain_out,
                                 .out_dtype = out_dtype,
                                 .out_stride = width});
      const auto sums = get(fused, n);
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(sums[i], x[i] + more[i]) << width << ' ' << i;
      const size_t halves = n * (out_dtype == DType::f32 ? 2 : 1);
      ASSERT_EQ(get(fused_out, halves), get(plain_out, halves)) << width;
    }
}

TEST_F(CudaNorm, row_has_the_same_bits_alone_in_a_batch_in_place_and_unaligned) {
  for (const int32_t width : {60, 512, 7168, 9000}) {
    const int32_t rows = 129;
    const auto n = static_cast<size_t>(rows * width), one = static_cast<size_t>(width);
    const auto x = naive::random_floats(n, 8);
    const auto w = naive::random_weight(DType::bf16, 1, width, 4);
    const Weight weight = put(w.view);
    float* xs = put(x);
    const auto norm = [&](const float* from, int64_t stride, int32_t count, float* to) {
      ops().rms_norm(context(), {.x = from,
                                 .x_stride = stride,
                                 .weight = weight,
                                 .rows = count,
                                 .width = width,
                                 .out = to,
                                 .out_stride = stride});
    };
    auto* all = room<float>(n);
    norm(xs, width, rows, all);
    const auto want = get(all, n);
    for (const int32_t r : {0, 1, 77, 128}) {
      auto* alone = room<float>(one);
      norm(xs + r * width, width, 1, alone);
      const auto at = want.begin() + r * width;
      ASSERT_EQ(get(alone, one), std::vector<float>(at, at + width)) << width << ' ' << r;
    }
    std::vector<float> shifted(n + 1);
    std::copy(x.begin(), x.end(), shifted.begin() + 1);
    float* odd = put(shifted);
    norm(odd + 1, width, rows, odd + 1);  // in place
    ASSERT_EQ(get(odd + 1, n), want) << width;
    norm(xs, width, rows, xs);
    ASSERT_EQ(get(xs, n), want) << width;
  }
}

}  // namespace
}  // namespace fathom
