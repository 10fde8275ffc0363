// Does the mixture add each token's experts in slot order, on every rank only its own, and never
// mix tokens? Values against double precision, bits against the token alone.
#include <gtest/gtest.h>

#include <numeric>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

struct Mixture {
  int32_t experts, hidden, width, chosen, rows;
  std::vector<naive::Owned> owned;
  std::vector<ExpertWeights> weights;
  std::vector<float> x, w;
  std::vector<int32_t> ids;

  Mixture(DType dtype, int32_t e, int32_t h, int32_t wide, int32_t k, int32_t n)
      : experts(e), hidden(h), width(wide), chosen(k), rows(n) {
    owned.reserve(static_cast<size_t>(3 * e));
    std::mt19937 generator(3);
    for (int32_t i = 0; i < e; ++i) {
      const auto seed = static_cast<uint32_t>(10 * i);
      owned.push_back(naive::random_weight(dtype, wide, h, seed));
      owned.push_back(naive::random_weight(dtype, wide, h, seed + 1));
      owned.push_back(naive::random_weight(dtype, h, wide, seed + 2));
      weights.push_back(
          {owned[owned.size() - 3].view, owned[owned.size() - 2].view, owned.back().view});
    }
    x = naive::random_floats(static_cast<size_t>(n * h), 5, 0.3f);
    w = naive::random_floats(static_cast<size_t>(n * k), 6);
    for (int32_t t = 0; t < n; ++t) {
      std::vector<int32_t> all(static_cast<size_t>(e - 1));  // the last expert is never chosen
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), generator);
      ids.insert(ids.end(), all.begin(), all.begin() + k);
    }
  }
  std::vector<float> run(const Machine& m, int32_t first, int32_t count, int32_t row,
                         int32_t n) const {
    std::vector<float> out(static_cast<size_t>(n * hidden), 0.5f);
    m.ops.experts(m.ctx, {.x = &x[static_cast<size_t>(row * hidden)],
                          .x_stride = hidden,
                          .rows = n,
                          .experts = std::span(weights).subspan(static_cast<size_t>(first),
                                                                static_cast<size_t>(count)),
                          .first_expert = first,
                          .ids = &ids[static_cast<size_t>(row * chosen)],
                          .weights = &w[static_cast<size_t>(row * chosen)],
                          .chosen = chosen,
                          .out = out.data(),
                          .out_stride = hidden});
    return out;
  }
  std::vector<float> whole(const Machine& m) const { return run(m, 0, experts, 0, rows); }

  std::vector<double> reference(int32_t t, int32_t first, int32_t count) const {
    std::vector<double> sum(static_cast<size_t>(hidden), 0.5);
    for (int32_t j = 0; j < chosen; ++j) {
      const int32_t e = ids[static_cast<size_t>(t * chosen + j)];
      if (e < first || e >= first + count) continue;
      std::vector<float> middle;
      for (int32_t i = 0; i < width; ++i) {
        const float* row = &x[static_cast<size_t>(t * hidden)];
        const double g =
            naive::dot(row, owned[static_cast<size_t>(3 * e)], i, Compute::float32).value;
        const double u =
            naive::dot(row, owned[static_cast<size_t>(3 * e + 1)], i, Compute::float32).value;
        middle.push_back(static_cast<float>(g / (1 + std::exp(-g)) * u));
      }
      for (int32_t o = 0; o < hidden; ++o)
        sum[static_cast<size_t>(o)] +=
            double{w[static_cast<size_t>(t * chosen + j)]} *
            naive::dot(middle.data(), owned[static_cast<size_t>(3 * e + 2)], o, Compute::float32)
                .value;
    }
    return sum;
  }
};

class Experts : public testing::TestWithParam<std::string> {};

TEST_P(Experts, are_weighted_and_added_on_top_of_what_is_there) {
  for (const DType dtype : {DType::bf16, DType::f8_e4m3}) {
    const Mixture mix(dtype, 7, 50, 37, 3, 12);
    const auto out = mix.whole(Machine(GetParam().c_str()));
    for (int32_t t = 0; t < mix.rows; ++t) {
      const auto want = mix.reference(t, 0, mix.experts);
      double size = 0;
      for (const double v : want) size = std::max(size, std::abs(v));
      for (int32_t o = 0; o < mix.hidden; ++o)
        ASSERT_NEAR(out[static_cast<size_t>(t * mix.hidden + o)], want[static_cast<size_t>(o)],
                    2e-5 * size);
    }
  }
}

TEST_P(Experts, of_other_ranks_are_left_out) {
  const Mixture mix(DType::bf16, 6, 32, 16, 2, 9);
  const Machine m(GetParam().c_str());
  const auto out = mix.run(m, 2, 2, 0, mix.rows);
  for (int32_t t = 0; t < mix.rows; ++t) {
    const auto want = mix.reference(t, 2, 2);
    for (int32_t o = 0; o < mix.hidden; ++o)
      ASSERT_NEAR(out[static_cast<size_t>(t * mix.hidden + o)], want[static_cast<size_t>(o)], 1e-3);
  }
}

TEST_P(Experts, give_a_token_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16})
    for (const DType dtype : {DType::f32, DType::bf16, DType::f8_e4m3}) {
      const Mixture mix(dtype, 6, 200, 70, 4, 103);
      const auto whole = mix.whole(Machine(GetParam().c_str(), 1, compute));
      for (const int threads : {2, 3})
        ASSERT_EQ(whole, mix.whole(Machine(GetParam().c_str(), threads, compute)));
      const Machine m(GetParam().c_str(), 1, compute);
      for (int32_t t = 0; t < mix.rows; ++t) {
        const auto alone = mix.run(m, 0, mix.experts, t, 1);
        ASSERT_TRUE(std::equal(alone.begin(), alone.end(), whole.begin() + t * mix.hidden))
            << "token " << t;
      }
    }
}

// What engines that share experts do: every pair by itself, those of half the experts in one call,
// the rest in another, and then each token's in slot order.
TEST_P(Experts, computed_pair_by_pair_and_added_by_slots_give_the_same_bits) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16}) {
    const Mixture mix(DType::f8_e4m3, 6, 200, 70, 3, 37);
    const Machine m(GetParam().c_str(), 2, compute);
    const auto whole = mix.whole(m);
    const size_t hidden = 200;
    std::vector<float> x, y;
    std::vector<int32_t> at(mix.ids.size(), -1);
    for (const int32_t first : {3, 0}) {  // the later half comes first
      std::vector<int32_t> ids;
      x.clear();
      for (size_t i = 0; i < mix.ids.size(); ++i) {
        if (mix.ids[i] < first || mix.ids[i] >= first + 3) continue;
        at[i] = static_cast<int32_t>(y.size() / hidden + ids.size());
        ids.push_back(mix.ids[i]);
        const auto row = mix.x.begin() + static_cast<std::ptrdiff_t>(i / 3 * hidden);
        x.insert(x.end(), row, row + static_cast<std::ptrdiff_t>(hidden));
      }
      const size_t begin = y.size();
      y.resize(begin + ids.size() * hidden, 0.0f);
      const std::vector<float> ones(ids.size(), 1.0f);
      m.ops.experts(m.ctx,
                    {.x = x.data(),
                     .x_stride = 200,
                     .rows = static_cast<int32_t>(ids.size()),
                     .experts = std::span(mix.weights).subspan(static_cast<size_t>(first), 3),
                     .first_expert = first,
                     .ids = ids.data(),
                     .weights = ones.data(),
                     .chosen = 1,
                     .out = y.data() + begin,
                     .out_stride = 200});
    }
    std::vector<float> out(whole.size(), 0.5f);
    m.ops.add_slots(m.ctx, {.y = y.data(),
                            .at = at.data(),
                            .weights = mix.w.data(),
                            .rows = mix.rows,
                            .chosen = 3,
                            .width = 200,
                            .out = out.data(),
                            .out_stride = 200});
    ASSERT_EQ(out, whole);
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, Experts, testing::ValuesIn(naive::tables()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace fathom
