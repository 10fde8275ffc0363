// Are the other row-wise operations right on a GPU: exact where nothing may be rounded, near the
// formula elsewhere, written only where they should?
#include "kernels/cuda/turn.h"
#include "on_gpu.h"

namespace fathom {
namespace {

using CudaRows = OnGpu;

TEST_F(CudaRows, embedding_widens_every_type_exactly_and_is_zero_outside_the_shard) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3})
    for (const int32_t width : {1, 33, 128, 2049, 7168}) {
      const auto table = naive::random_weight(dtype, 10, width, 1, width % 2 * 9);
      const std::vector<TokenId> tokens = {20, 4, 29, 30, 19, 25, -1, 2'000'000'000};
      const size_t n = tokens.size() * static_cast<size_t>(width);
      auto* out = room<float>(n);
      const TokenId* ids = put(tokens);
      ops().embed(
          context(),
          {.tokens = {ids, tokens.size()}, .table = put(table.view), .first_row = 20, .out = out});
      const auto got = get(out, n);
      for (size_t t = 0; t < tokens.size(); ++t)
        for (int32_t i = 0; i < width; ++i) {
          const int64_t row = int64_t{tokens[t]} - 20;
          const double want = row >= 0 && row < 10 ? table.at(static_cast<int32_t>(row), i) : 0.0;
          ASSERT_EQ(got[t * static_cast<size_t>(width) + static_cast<size_t>(i)],
                    static_cast<float>(want))
              << naive::name_of(dtype) << ' ' << width << " token " << t << " value " << i;
        }
    }
}

TEST_F(CudaRows, drawn_ids_become_the_tokens_of_rows_that_wait_for_them) {
  for (const size_t rows : {1u, 5u, 256u, 257u, 1000u}) {
    std::vector<TokenId> drawn(rows), tokens(rows), want(rows);
    std::vector<int32_t> from(rows);
    for (size_t i = 0; i < rows; ++i) {
      drawn[i] = static_cast<TokenId>(1000 + 3 * i);
      want[i] = tokens[i] = static_cast<TokenId>(i);
      from[i] = i % 3 == 1 ? -1 : static_cast<int32_t>((7 * i) % rows);
    }
    for (size_t i = 0; i < rows; ++i)
      if (from[i] >= 0) want[i] = drawn[static_cast<size_t>(from[i])];
    TokenId* there = put(tokens);
    ops().feed_tokens(context(), {.drawn = put(drawn),
                                  .from = put(from),
                                  .rows = static_cast<int32_t>(rows),
                                  .tokens = there});
    EXPECT_EQ(get(there, rows), want);
  }
}

TEST(CudaTurn, sines_and_cosines_are_right_at_any_position) {
  double worst = 0;
  for (int32_t position = 0; position < 3'000'000; position += position < 5000 ? 1 : 997)
    for (const float frequency : {1.0f, 0.7498942f, 0.01f, 1e-4f}) {
      const float angle = static_cast<float>(position) * frequency;
      for (const float a : {angle, -angle}) {
        const cuda::Turn t = cuda::turn_by(a);
        worst = std::max({worst, std::abs(t.cosine - std::cos(double{a})),
                          std::abs(t.sine - std::sin(double{a}))});
      }
    }
  EXPECT_LT(worst, 3.1e-8) << "half a unit of the last place of 1";
}

TEST_F(CudaRows, rope_turns_pairs_of_both_layouts_by_position_times_frequency) {
  struct Shape {
    int32_t heads, width, head_stride, row_stride;
  };
  for (const Shape s : {Shape{3, 16, 24, 80}, Shape{1, 64, 64, 576}, Shape{128, 64, 192, 24576},
                        Shape{5, 6, 7, 36}, Shape{40, 128, 128, 5120}, Shape{2, 2, 2, 4}})
    for (const bool halves : {false, true}) {
      const std::vector<int32_t> positions = {0, 1, 2, 77, 4095, 100000, 163839};
      const auto rows = static_cast<int32_t>(positions.size());
      const auto n = static_cast<size_t>(rows * s.row_stride);
      const auto before = naive::random_floats(n, 9);
      std::vector<float> frequencies;
      for (int i = 0; i < s.width / 2; ++i)
        frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / s.width)));
      float* x = put(before);
      ops().rope(context(), {.x = x,
                             .row_stride = s.row_stride,
                             .head_stride = s.head_stride,
                             .rows = rows,
                             .heads = s.heads,
                             .width = s.width,
                             .positions = put(positions),
                             .frequencies = put(frequencies),
                             .magnitude = 1.25f,
                             .halves = halves});
      auto want = before;
      for (int32_t t = 0; t < rows; ++t)
        for (int32_t h = 0; h < s.heads; ++h)
          for (int32_t i = 0; i < s.width / 2; ++i) {
            const auto base = static_cast<size_t>(t * s.row_stride + h * s.head_stride);
            const auto a = base + static_cast<size_t>(halves ? i : 2 * i);
            const auto b = halves ? a + static_cast<size_t>(s.width / 2) : a + 1;
            const float angle = static_cast<float>(positions[static_cast<size_t>(t)]) *
                                frequencies[static_cast<size_t>(i)];
            const double cosine = 1.25 * std::cos(double{angle}),
                         sine = 1.25 * std::sin(double{angle});
            want[a] = static_cast<float>(before[a] * cosine - before[b] * sine);
            want[b] = static_cast<float>(before[a] * sine + before[b] * cosine);
          }
      const auto got = get(x, n);
      for (size_t i = 0; i < n; ++i) ASSERT_NEAR(got[i], want[i], 5e-6) << s.heads << ' ' << i;
      for (int32_t r = 0; r < rows; ++r) {  // alone
        float* one = put(std::vector<float>(before.begin() + r * s.row_stride,
                                            before.begin() + (r + 1) * s.row_stride));
        ops().rope(context(),
                   {.x = one,
                    .row_stride = s.row_stride,
                    .head_stride = s.head_stride,
                    .rows = 1,
                    .heads = s.heads,
                    .width = s.width,
                    .positions = put(std::vector<int32_t>{positions[static_cast<size_t>(r)]}),
                    .frequencies = put(frequencies),
                    .magnitude = 1.25f,
                    .halves = halves});
        ASSERT_EQ(get(one, static_cast<size_t>(s.row_stride)),
                  std::vector<float>(got.begin() + r * s.row_stride,
                                     got.begin() + (r + 1) * s.row_stride));
      }
    }
}

TEST_F(CudaRows, swiglu_is_silu_times_up_even_for_huge_gates) {
  for (const int32_t width : {1, 37, 64, 2048, 4099})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const int32_t rows = 67, stride = 2 * width + width % 4;
      const auto n = static_cast<size_t>(rows * stride);
      auto in = naive::random_floats(n, 1, 3.0f);
      const float huge[] = {200.0f, -200.0f, -88.0f, 88.5f, -0.0f, -103.5f, -1e30f};
      std::copy_n(huge, std::min<size_t>(7, static_cast<size_t>(width)), in.begin());
      float* ins = put(in);
      auto* out = room<float>(static_cast<size_t>(rows * width));
      ops().swiglu(context(), {.gate = ins,
                               .up = ins + width,
                               .in_stride = stride,
                               .rows = rows,
                               .width = width,
                               .out = out,
                               .out_dtype = dtype,
                               .out_stride = width});
      const auto count = static_cast<size_t>(rows * width);
      const auto got = dtype == DType::f32 ? get(out, count) : get_bf16(out, count);
      for (int32_t r = 0; r < rows; ++r)
        for (int32_t i = 0; i < width; ++i) {
          const double g = in[static_cast<size_t>(r * stride + i)];
          const double want =
              g / (1 + std::exp(-g)) * in[static_cast<size_t>(r * stride + width + i)];
          ASSERT_NEAR(got[static_cast<size_t>(r * width + i)], want,
                      (dtype == DType::f32 ? 2e-6 : 4e-3) * std::abs(want) + 1e-35)
              << width << ' ' << g;
        }
    }
}

TEST_F(CudaRows, swiglu_in_place_gives_the_same_bits) {
  const int32_t rows = 9, width = 260;
  const auto gate = naive::random_floats(rows * width, 1),
             up = naive::random_floats(rows * width, 2);
  float* gates = put(gate);
  auto* out = room<float>(rows * width);
  const auto say = [&](float* to) {
    ops().swiglu(context(), {.gate = gates,
                             .up = put(up),
                             .in_stride = width,
                             .rows = rows,
                             .width = width,
                             .out = to,
                             .out_stride = width});
    return get(to, rows * width);
  };
  const auto want = say(out);
  EXPECT_EQ(say(gates), want);
}

TEST_F(CudaRows, add_and_add_bias_add) {
  for (const int64_t n : {1, 15, 4096, 4097, 100000}) {
    const auto x = naive::random_floats(static_cast<size_t>(n), 1),
               y = naive::random_floats(static_cast<size_t>(n), 2);
    for (const size_t off : {0, 1}) {
      std::vector<float> padded(x.size() + 9, 7.0f);
      std::copy(x.begin(), x.end(), padded.begin() + static_cast<std::ptrdiff_t>(off));
      float* xs = put(padded);
      ops().add(context(), {.x = xs + off, .y = put(y), .count = n});
      const auto got = get(xs, padded.size());
      for (size_t i = 0; i < padded.size(); ++i)
        ASSERT_EQ(got[i], i < off || i >= off + x.size() ? 7.0f : x[i - off] + y[i - off]) << n;
    }
  }
  for (const int32_t width : {3, 64, 4100}) {
    const int32_t rows = 65;
    const auto y = naive::random_floats(static_cast<size_t>(rows * width), 1),
               bias = naive::random_floats(static_cast<size_t>(width), 2);
    float* ys = put(y);
    ops().add_bias(context(), {.y = ys, .bias = put(bias), .rows = rows, .width = width});
    const auto got = get(ys, y.size());
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(got[i], y[i] + bias[i % static_cast<size_t>(width)]) << width << ' ' << i;
  }
}

TEST_F(CudaRows, gather_takes_rows_as_they_are_named) {
  for (const int32_t width : {1, 5, 64, 7168}) {
    const int32_t stride = width + width % 2;
    const auto x = naive::random_floats(static_cast<size_t>(20 * stride), 1);
    const std::vector<int32_t> from = {19, 0, 7, 7, 3};
    auto* out = room<float>(from.size() * static_cast<size_t>(width));
    ops().gather_rows(context(), {.x = put(x),
                                  .x_stride = stride,
                                  .from = put(from),
                                  .rows = static_cast<int32_t>(from.size()),
                                  .width = width,
                                  .out = out});
    const auto got = get(out, from.size() * static_cast<size_t>(width));
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t r = i / static_cast<size_t>(width), c = i % static_cast<size_t>(width);
      ASSERT_EQ(got[i], x[static_cast<size_t>(from[r] * stride) + c]);
    }
  }
}

}  // namespace
}  // namespace fathom
