// What do linear and experts multiply under Compute::fp8? Values against double-precision products
// of rows that were quantised code by code from a list of all codes; bits against the row alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

class Fp8 : public testing::TestWithParam<std::string> {
 protected:
  Machine machine(int threads = 1, Compute compute = Compute::fp8) const {
    return Machine(GetParam().c_str(), threads, compute);
  }
  static std::vector<float> multiply(const Machine& m, const std::vector<float>& x, const Weight& w,
                                     bool exact = false) {
    return naive::linear(m, x, static_cast<int32_t>(x.size()) / w.cols, w, exact);
  }
};

// FP8 whose columns begin a scale block; rows may begin inside of one.
naive::Owned fp8_weight(int32_t rows, int32_t cols, uint32_t seed, int32_t first_row = 0) {
  auto w = naive::random_weight(DType::f8_e4m3, rows, cols, seed);
  w.view.scale_row = first_row;
  w.scales = naive::random_floats(
      static_cast<size_t>((rows + first_row + 127) / 128 * w.view.scale_stride), seed + 1, 0.01f);
  w.view.scale = w.scales.data();
  return w;
}

TEST_P(Fp8, linear_multiplies_codes_and_both_scales) {
  uint32_t seed = 7000;
  for (const auto& [rows, outs, cols, first_row] : {std::array{1, 40, 192, 0},
                                                    {3, 130, 256, 37},
                                                    {7, 33, 1100, 0},
                                                    {40, 64, 500, 90},
                                                    {2, 5, 40, 0},
                                                    {97, 35, 128, 3}}) {
    const auto w = fp8_weight(outs, cols, seed++, first_row);
    auto x = naive::random_floats(static_cast<size_t>(rows * cols), seed++);
    std::fill_n(x.begin(), std::min(cols, 128), 0.0f);
    for (int32_t k = 0; k < cols / 2; ++k) x[x.size() - 1 - static_cast<size_t>(k)] *= 1e-6f;
    const auto y = multiply(machine(), x, w.view);
    for (int32_t r = 0; r < rows; ++r) {
      const auto quantised = naive::quantised(&x[static_cast<size_t>(r * cols)], cols);
      for (int32_t o = 0; o < outs; ++o) {
        const auto want = naive::dot(quantised.data(), w, o, Compute::float32);
        ASSERT_NEAR(y[static_cast<size_t>(r * outs + o)], want.value, 1e-6 * want.size + 1e-30)
            << rows << 'x' << outs << 'x' << cols << ", row " << r << " output " << o;
      }
    }
  }
}

TEST_P(Fp8, row_has_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads) {
  const int32_t cols = 400;
  const auto w = fp8_weight(300, cols, 11);
  const auto x = naive::random_floats(static_cast<size_t>(70 * cols), 12);
  const auto whole = multiply(machine(), x, w.view);
  for (const int threads : {2, 3}) ASSERT_EQ(multiply(machine(threads), x, w.view), whole);
  for (int32_t r = 0; r < 70; ++r) {
    const auto y = multiply(machine(), {x.begin() + r * cols, x.begin() + (r + 1) * cols}, w.view);
    ASSERT_TRUE(std::equal(y.begin(), y.end(), whole.begin() + r * 300)) << r;
  }
}

TEST_P(Fp8, other_weights_and_exact_products_are_those_of_bfloat16) {
  const auto x = naive::random_floats(5 * 256, 1);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const auto w = naive::random_weight(dtype, 40, 256, 2);
    EXPECT_EQ(multiply(machine(), x, w.view), multiply(machine(1, Compute::bfloat16), x, w.view));
  }
  const auto w = fp8_weight(40, 256, 3);
  EXPECT_EQ(multiply(machine(), x, w.view, true),
            multiply(machine(1, Compute::float32), x, w.view));
}

TEST_P(Fp8, a_value_that_is_no_number_leaves_none_in_its_row_alone) {
  const auto w = fp8_weight(20, 256, 4);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto x = naive::random_floats(3 * 256, 5);
    x[256 + 200] = bad;
    const auto y = multiply(machine(), x, w.view);
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isfinite(y[i]), i / 20 != 1) << i;
  }
}

struct Mixture {
  static constexpr int32_t kExperts = 5, kHidden = 200, kWidth = 150, kChosen = 3, kRows = 61;
  std::vector<naive::Owned> owned;
  std::vector<ExpertWeights> experts;
  std::vector<float> x = naive::random_floats(kRows * kHidden, 5, 0.3f);
  std::vector<float> weights = naive::random_floats(kRows * kChosen, 6);
  std::vector<int32_t> ids;

  Mixture() {
    owned.reserve(3 * kExperts);
    for (uint32_t e = 0; e < kExperts; ++e) {
      for (const auto& [rows, cols] :
           {std::pair{kWidth, kHidden}, {kWidth, kHidden}, {kHidden, kWidth}})
        owned.push_back(fp8_weight(rows, cols, 100 * e + static_cast<uint32_t>(owned.size())));
      const auto* last = &owned.back();
      experts.push_back({last[-2].view, last[-1].view, last->view});
    }
    for (int32_t t = 0; t < kRows; ++t)
      for (int32_t j = 0; j < kChosen; ++j) ids.push_back((t * 2 + j) % kExperts);
  }
  std::vector<float> run(const Machine& m, int32_t first, int32_t rows) const {
    std::vector<float> out(static_cast<size_t>(rows * kHidden), 0.5f);
    m.ops.experts(m.ctx, {.x = &x[static_cast<size_t>(first * kHidden)],
                          .x_stride = kHidden,
                          .rows = rows,
                          .experts = experts,
                          .ids = &ids[static_cast<size_t>(first * kChosen)],
                          .weights = &weights[static_cast<size_t>(first * kChosen)],
                          .chosen = kChosen,
                          .out = out.data(),
                          .out_stride = kHidden});
    return out;
  }
  std::vector<double> reference(int32_t t) const {
    std::vector<double> sum(kHidden, 0.5);
    const auto row = naive::quantised(&x[static_cast<size_t>(t * kHidden)], kHidden);
    for (int32_t j = 0; j < kChosen; ++j) {
      const auto at = static_cast<size_t>(t * kChosen + j);
      const auto* e = &owned[static_cast<size_t>(3 * ids[at])];
      std::vector<float> middle;
      for (int32_t i = 0; i < kWidth; ++i) {
        const double g = naive::dot(row.data(), e[0], i, Compute::float32).value;
        const double u = naive::dot(row.data(), e[1], i, Compute::float32).value;
        middle.push_back(static_cast<float>(g / (1 + std::exp(-g)) * u));
      }
      middle = naive::quantised(middle.data(), kWidth);
      for (int32_t o = 0; o < kHidden; ++o)
        sum[static_cast<size_t>(o)] +=
            double{weights[at]} * naive::dot(middle.data(), e[2], o, Compute::float32).value;
    }
    return sum;
  }
};

// A value of the middle that lies between two codes may round to either: a step of e4m3 there is
// 1/16 of it, and few of 150 do.
TEST_P(Fp8, experts_quantise_tokens_and_what_down_multiplies) {
  const Mixture mix;
  const auto out = mix.run(machine(), 0, Mixture::kRows);
  double square = 0, error = 0;
  for (int32_t t = 0; t < Mixture::kRows; ++t) {
    const auto want = mix.reference(t);
    for (size_t o = 0; o < want.size(); ++o) {
      const double got = out[static_cast<size_t>(t) * want.size() + o];
      square += want[o] * want[o];
      error += (got - want[o]) * (got - want[o]);
    }
  }
  EXPECT_LE(std::sqrt(error / square), 1e-4);
}

TEST_P(Fp8, experts_give_a_token_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads) {
  const Mixture mix;
  const auto whole = mix.run(machine(), 0, Mixture::kRows);
  EXPECT_EQ(mix.run(machine(3), 0, Mixture::kRows), whole);
  for (int32_t t = 0; t < Mixture::kRows; ++t) {
    const auto alone = mix.run(machine(), t, 1);
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), whole.begin() + t * Mixture::kHidden)) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, Fp8, testing::ValuesIn(naive::tables()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace fathom
