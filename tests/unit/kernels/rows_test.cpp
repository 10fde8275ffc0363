// Are the row-wise operations right, and exact where nothing may be rounded? Each is held to its
// formula in double precision for every table.
#include <gtest/gtest.h>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

class Rows : public testing::TestWithParam<std::string> {
 protected:
  Machine m_{GetParam().c_str()};
};

TEST_P(Rows, every_stored_bit_pattern_widens_exactly) {
  for (const DType dtype : {DType::bf16, DType::f16, DType::f8_e4m3}) {
    const int32_t patterns = dtype == DType::f8_e4m3 ? 256 : 65536;
    std::vector<uint8_t> bytes(static_cast<size_t>(patterns * dtype_bytes(dtype)));
    for (int32_t i = 0; i < patterns; ++i)
      std::memcpy(&bytes[static_cast<size_t>(i * dtype_bytes(dtype))], &i,
                  static_cast<size_t>(dtype_bytes(dtype)));
    const std::vector<float> ones(512, 1.0f);
    const Weight table{.data = bytes.data(),
                       .dtype = dtype,
                       .rows = 1,
                       .cols = patterns,
                       .row_stride = patterns,
                       .scale = dtype == DType::f8_e4m3 ? ones.data() : nullptr,
                       .scale_stride = 512};
    std::vector<float> out(static_cast<size_t>(patterns));
    const TokenId token = 0;
    m_.ops.embed(m_.ctx, {.tokens = {&token, 1}, .table = table, .out = out.data()});
    const int exponent = dtype == DType::bf16 ? 8 : dtype == DType::f16 ? 5 : 4;
    const int mantissa = dtype == DType::bf16 ? 7 : dtype == DType::f16 ? 10 : 3;
    const int bias = (1 << (exponent - 1)) - 1;
    for (int32_t i = 0; i < patterns; ++i) {
      const auto bits = static_cast<uint32_t>(i);
      const uint32_t top = bits >> mantissa & ((1u << exponent) - 1),
                     rest = bits & ((1u << mantissa) - 1);
      const float got = out[static_cast<size_t>(i)];
      if (dtype == DType::f8_e4m3 ? (bits & 0x7F) == 0x7F : top == (1u << exponent) - 1) {
        const bool infinite = dtype != DType::f8_e4m3 && rest == 0;
        ASSERT_TRUE(infinite ? std::isinf(got) : std::isnan(got))
            << naive::name_of(dtype) << ' ' << i;
        continue;
      }
      ASSERT_EQ(got, naive::decode_bits(bits, exponent, mantissa, bias))
          << naive::name_of(dtype) << ' ' << i;
      ASSERT_EQ(std::signbit(got), (bits >> (exponent + mantissa)) != 0);
    }
  }
}

TEST_P(Rows, embedding_of_a_vocabulary_shard_is_zero_outside_it) {
  const auto table = naive::random_weight(DType::bf16, 10, 33, 1);
  const std::vector<TokenId> tokens = {20, 4, 29, 30, 19, 25};
  std::vector<float> out(tokens.size() * 33, 7.0f);
  m_.ops.embed(m_.ctx, {.tokens = tokens, .table = table.view, .first_row = 20, .out = out.data()});
  for (size_t t = 0; t < tokens.size(); ++t)
    for (int32_t i = 0; i < 33; ++i) {
      const int32_t row = tokens[t] - 20;
      ASSERT_EQ(out[t * 33 + static_cast<size_t>(i)],
                row >= 0 && row < 10 ? table.at(row, i) : 0.0);
    }
}

TEST_P(Rows, drawn_ids_become_the_tokens_of_rows_that_wait_for_them) {
  const std::vector<TokenId> drawn = {70, 71, 72};
  const std::vector<int32_t> from = {2, -1, 0, 0, -1};
  std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
  m_.ops.feed_tokens(
      m_.ctx, {.drawn = drawn.data(), .from = from.data(), .rows = 5, .tokens = tokens.data()});
  EXPECT_EQ(tokens, (std::vector<TokenId>{72, 2, 70, 70, 5}));
}

TEST_P(Rows, norm_divides_by_the_root_of_the_mean_square) {
  for (const int32_t width : {1, 15, 16, 64, 100, 1537})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const int32_t rows = 5, stride = width + 3;
      auto x = naive::random_floats(static_cast<size_t>(rows * stride), 3);
      const auto w = naive::random_weight(dtype, 1, width, 4);
      std::vector<float> out(x.size());
      m_.ops.rms_norm(m_.ctx, {.x = x.data(),
                               .x_stride = stride,
                               .weight = w.view,
                               .eps = 1e-6f,
                               .rows = rows,
                               .width = width,
                               .out = out.data(),
                               .out_stride = stride});
      for (int32_t r = 0; r < rows; ++r) {
        double mean = 0;
        for (int32_t i = 0; i < width; ++i)
          mean += std::pow(double{x[static_cast<size_t>(r * stride + i)]}, 2) / width;
        for (int32_t i = 0; i < width; ++i) {
          const auto at = static_cast<size_t>(r * stride + i);
          const double want = w.at(0, i) * x[at] / std::sqrt(mean + double{1e-6f});
          ASSERT_NEAR(out[at], want, 1e-6 * std::abs(want) + 1e-30);
        }
      }
      m_.ops.rms_norm(m_.ctx, {.x = x.data(),
                               .x_stride = stride,
                               .weight = w.view,
                               .eps = 1e-6f,
                               .rows = rows,
                               .width = width,
                               .out = x.data(),
                               .out_stride = stride});
      for (int32_t r = 0; r < rows; ++r)
        for (int32_t i = 0; i < width; ++i)
          ASSERT_EQ(x[static_cast<size_t>(r * stride + i)],
                    out[static_cast<size_t>(r * stride + i)]);
    }
}

TEST_P(Rows, rope_turns_neighbouring_pairs_by_position_times_frequency) {
  const int32_t rows = 7, heads = 3, width = 16, head_stride = 24, row_stride = 80;
  auto x = naive::random_floats(static_cast<size_t>(rows * row_stride), 9);
  const auto before = x;
  const std::vector<int32_t> positions = {0, 1, 2, 77, 4095, 100000, 163839};
  std::vector<float> frequencies;
  for (int i = 0; i < width / 2; ++i)
    frequencies.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / width)));
  m_.ops.rope(m_.ctx, {.x = x.data(),
                       .row_stride = row_stride,
                       .head_stride = head_stride,
                       .rows = rows,
                       .heads = heads,
                       .width = width,
                       .positions = positions.data(),
                       .frequencies = frequencies.data(),
                       .magnitude = 1.25f});
  auto want = before;
  for (int32_t t = 0; t < rows; ++t)
    for (int32_t h = 0; h < heads; ++h)
      for (int32_t i = 0; i < width / 2; ++i) {
        const auto at = static_cast<size_t>(t * row_stride + h * head_stride + 2 * i);
        const float angle = static_cast<float>(positions[static_cast<size_t>(t)]) *
                            frequencies[static_cast<size_t>(i)];
        const double c = 1.25 * std::cos(double{angle}), s = 1.25 * std::sin(double{angle});
        want[at] = static_cast<float>(before[at] * c - before[at + 1] * s);
        want[at + 1] = static_cast<float>(before[at] * s + before[at + 1] * c);
      }
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], want[i], 1e-5) << i;
}

TEST_P(Rows, rope_by_halves_is_rope_of_neighbours_with_the_values_dealt_out) {
  const int32_t rows = 5, heads = 2, width = 12;
  const auto paired = naive::random_floats(rows * heads * width, 9);
  const std::vector<int32_t> positions = {0, 1, 77, 4095, 100000};
  const std::vector<float> frequencies = {1.0f, 0.3f, 0.1f, 0.03f, 0.01f, 0.001f};
  const auto turned = [&](std::vector<float> x, bool halves) {
    m_.ops.rope(m_.ctx, {.x = x.data(),
                         .row_stride = heads * width,
                         .head_stride = width,
                         .rows = rows,
                         .heads = heads,
                         .width = width,
                         .positions = positions.data(),
                         .frequencies = frequencies.data(),
                         .magnitude = 1.25f,
                         .halves = halves});
    return x;
  };
  // Pair i stands at (2i, 2i + 1) on one side and at (i, i + width / 2) on the other.
  const auto dealt = [&](const std::vector<float>& x) {
    std::vector<float> out(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t at = i % width;
      out[i - at + at / 2 + at % 2 * (width / 2)] = x[i];
    }
    return out;
  };
  EXPECT_EQ(turned(dealt(paired), true), dealt(turned(paired, false)));
}

TEST_P(Rows, cache_holds_the_latent_then_the_rope_key) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const int32_t rank = 20, rope = 6, tokens = 4, rows = 5;
    const int64_t stride = tokens * (rank + rope) + 10;
    std::vector<uint8_t> bytes(static_cast<size_t>(3 * stride * dtype_bytes(dtype)), 0xEE);
    const auto untouched = bytes;
    const auto latent = naive::random_floats(rows * 26, 1), key = naive::random_floats(rows * 9, 2);
    const std::vector<int64_t> slots = {0, 3, 11, -1, 6};  // the one below 0 stores nothing
    m_.ops.cache_write(m_.ctx, {.latent = latent.data(),
                                .latent_stride = 26,
                                .rope_key = key.data(),
                                .rope_stride = 9,
                                .rows = rows,
                                .slots = slots.data(),
                                .cache = {bytes.data(), dtype, stride, tokens, rank, rope}});
    auto want = untouched;
    for (int32_t t = 0; t < rows; ++t)
      for (int32_t i = 0; i < rank + rope; ++i) {
        float v = i < rank ? latent[static_cast<size_t>(t * 26 + i)]
                           : key[static_cast<size_t>(t * 9 + i - rank)];
        const int64_t slot = slots[static_cast<size_t>(t)];
        if (slot < 0) continue;
        const int64_t at = slot / tokens * stride + slot % tokens * (rank + rope) + i;
        if (dtype == DType::bf16) v = naive::rounded_bf16(v);
        const auto* from = reinterpret_cast<const uint8_t*>(&v) + (dtype == DType::bf16 ? 2 : 0);
        std::memcpy(&want[static_cast<size_t>(at * dtype_bytes(dtype))], from,
                    static_cast<size_t>(dtype_bytes(dtype)));
      }
    EXPECT_EQ(bytes, want) << naive::name_of(dtype);
  }
}

TEST_P(Rows, swiglu_is_silu_times_up_even_for_huge_gates) {
  const int32_t width = 37, rows = 4;
  auto gate = naive::random_floats(static_cast<size_t>(rows * 40), 1, 3.0f);
  gate[0] = 200.0f, gate[1] = -200.0f, gate[2] = -88.0f, gate[3] = 88.5f, gate[4] = -0.0f,
  gate[5] = -103.5f;
  const auto up = naive::random_floats(static_cast<size_t>(rows * 40), 2);
  std::vector<float> out(static_cast<size_t>(rows * width));
  m_.ops.swiglu(m_.ctx, {.gate = gate.data(),
                         .up = up.data(),
                         .in_stride = 40,
                         .rows = rows,
                         .width = width,
                         .out = out.data(),
                         .out_stride = width});
  for (int32_t r = 0; r < rows; ++r)
    for (int32_t i = 0; i < width; ++i) {
      const double g = gate[static_cast<size_t>(r * 40 + i)];
      const double want = g / (1 + std::exp(-g)) * up[static_cast<size_t>(r * 40 + i)];
      ASSERT_NEAR(out[static_cast<size_t>(r * width + i)], want, 2e-6 * std::abs(want) + 1e-35)
          << g;
    }
}

TEST_P(Rows, add_adds) {
  for (const int64_t n : {1, 15, 100000}) {
    auto x = naive::random_floats(static_cast<size_t>(n), 1);
    const auto before = x, y = naive::random_floats(static_cast<size_t>(n), 2);
    m_.ops.add(m_.ctx, {.x = x.data(), .y = y.data(), .count = n});
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(x[i], before[i] + y[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, Rows, testing::ValuesIn(naive::tables()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace fathom
