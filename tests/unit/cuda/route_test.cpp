// Does a GPU choose the very experts the CPU chooses, with the same weights, for every way of
// scoring and grouping? And nobody for rows that only pad the batch?
#include <algorithm>

#include "on_gpu.h"

namespace fathom {
namespace {

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
  bool operator==(const Routed&) const = default;
};

struct Rows {
  std::vector<float> logits, bias;  // bias may be empty
  RouteParams p;                    // without pointers
};

class CudaRoute : public OnGpu {
 protected:
  Routed run(const Rows& in, const std::vector<int64_t>& slots = {}) {
    RouteParams p = in.p;
    const auto count = static_cast<size_t>(p.rows) * static_cast<size_t>(p.chosen);
    p.logits = put(in.logits);
    p.bias = in.bias.empty() ? nullptr : put(in.bias);
    p.slots = slots.empty() ? nullptr : put(slots);
    p.ids = room<int32_t>(count);
    p.weights = room<float>(count);
    ops().route(context(), p);
    return {get(p.ids, count), get(p.weights, count)};
  }
  static Routed on_cpu(const Rows& in) {
    const naive::Machine m("portable");
    RouteParams p = in.p;
    const auto count = static_cast<size_t>(p.rows) * static_cast<size_t>(p.chosen);
    Routed r{std::vector<int32_t>(count), std::vector<float>(count)};
    p.logits = in.logits.data();
    p.bias = in.bias.empty() ? nullptr : in.bias.data();
    p.ids = r.ids.data();
    p.weights = r.weights.data();
    m.ops.route(m.ctx, p);
    return r;
  }
  void expect_like_cpu(const Rows& in, const char* what) {
    const Routed got = run(in), want = on_cpu(in);
    size_t wrong = 0;
    for (size_t i = 0; i < want.ids.size(); ++i) {
      if (got.ids[i] != want.ids[i] && wrong++ < 3)
        ADD_FAILURE() << what << ": slot " << i << " is " << got.ids[i] << ", not " << want.ids[i];
      if (std::abs(got.weights[i] - want.weights[i]) > 1e-6f * in.p.factor && wrong++ < 3)
        ADD_FAILURE() << what << ": weight " << i << " is " << got.weights[i] << ", not "
                      << want.weights[i];
    }
    EXPECT_EQ(wrong, 0u) << what;
  }
};

Rows random_rows(RouteParams p, uint32_t seed, bool biased) {
  Rows in{naive::random_floats(static_cast<size_t>(p.rows * p.experts), seed, 2.0f), {}, p};
  if (biased) in.bias = naive::random_floats(static_cast<size_t>(p.experts), seed + 1, 0.2f);
  return in;
}

TEST_F(CudaRoute, chooses_as_the_cpu_does) {
  uint32_t seed = 1;
  for (const int32_t rows : {1, 3, 4, 5, 129, 1000}) {
    expect_like_cpu(random_rows({.rows = rows,
                                 .experts = 256,
                                 .groups = 8,
                                 .groups_kept = 4,
                                 .chosen = 8,
                                 .factor = 2.5f},
                                ++seed, true),
                    "V3");
    expect_like_cpu(random_rows({.rows = rows,
                                 .experts = 160,
                                 .groups = 8,
                                 .groups_kept = 3,
                                 .group_score = GroupScore::max,
                                 .scoring = Scoring::softmax,
                                 .chosen = 6,
                                 .normalise = false,
                                 .factor = 16.0f},
                                ++seed, false),
                    "V2");
    expect_like_cpu(random_rows({.rows = rows,
                                 .experts = 64,
                                 .group_score = GroupScore::none,
                                 .scoring = Scoring::softmax,
                                 .chosen = 6,
                                 .normalise = false},
                                ++seed, false),
                    "V2-Lite");
  }
}

TEST_F(CudaRoute, takes_any_number_of_experts_groups_and_chosen) {
  uint32_t seed = 100;
  for (const auto& [experts, groups, kept, chosen] :
       std::vector<std::array<int32_t, 4>>{{1, 1, 1, 1},
                                           {2, 2, 1, 1},
                                           {7, 7, 3, 3},
                                           {16, 4, 2, 4},
                                           {31, 1, 1, 31},
                                           {64, 16, 5, 20},
                                           {65, 5, 2, 9},
                                           {70, 3, 1, 5},
                                           {128, 64, 20, 32},
                                           {257, 1, 1, 8},
                                           {384, 8, 4, 8},
                                           {512, 8, 4, 32},
                                           {512, 512, 40, 32}})
    for (const Scoring scoring : {Scoring::sigmoid, Scoring::softmax})
      for (const GroupScore score : {GroupScore::none, GroupScore::max, GroupScore::top2_sum})
        expect_like_cpu(random_rows({.rows = 37,
                                     .experts = experts,
                                     .groups = groups,
                                     .groups_kept = kept,
                                     .group_score = score,
                                     .scoring = scoring,
                                     .chosen = chosen,
                                     .normalise = seed % 2 == 0},
                                    ++seed, scoring == Scoring::sigmoid),
                        (std::to_string(experts) + "/" + std::to_string(groups)).c_str());
}

TEST_F(CudaRoute, ties_negative_scores_and_infinities_fall_as_on_the_cpu) {
  const RouteParams v3{.rows = 64, .experts = 256, .groups = 8, .groups_kept = 4, .chosen = 8};
  Rows in = random_rows(v3, 7, true);
  for (float& v : in.logits) v = std::round(v);  // many are equal
  for (float& v : in.bias) v = std::round(v * 4) - 3.0f;
  expect_like_cpu(in, "ties");
  in.bias.clear();
  expect_like_cpu(in, "ties without bias");
  for (size_t i = 0; i < in.logits.size(); ++i)
    in.logits[i] = i % 3 == 0 ? -INFINITY : i % 7 == 0 ? INFINITY : in.logits[i] * 60.0f;
  expect_like_cpu(in, "infinities");
  in.logits.assign(in.logits.size(), 0.25f);
  expect_like_cpu(in, "all equal");
}

TEST_F(CudaRoute, survives_logits_that_are_not_numbers) {
  Rows in =
      random_rows({.rows = 2, .experts = 64, .groups = 8, .groups_kept = 2, .chosen = 8}, 3, false);
  in.logits.assign(in.logits.size(), NAN);
  Routed r = run(in);
  for (int t = 0; t < 2; ++t) {
    std::sort(r.ids.begin() + t * 8, r.ids.begin() + t * 8 + 8);
    for (size_t j = 0; j < 8; ++j) {
      const int32_t id = r.ids[static_cast<size_t>(t) * 8 + j];
      EXPECT_TRUE(id >= 0 && id < 64);
      if (j > 0) {
        EXPECT_NE(id, r.ids[static_cast<size_t>(t) * 8 + j - 1]);
      }
    }
  }
}

TEST_F(CudaRoute, rows_that_pad_choose_nobody_and_change_nothing) {
  const Rows in = random_rows(
      {.rows = 9, .experts = 256, .groups = 8, .groups_kept = 4, .chosen = 8, .factor = 2.5f}, 11,
      true);
  const Routed whole = run(in);
  const Routed padded = run(in, {5, 6, -1, 7, 8, 9, -1, -1, -1});
  for (size_t i = 0; i < whole.ids.size(); ++i) {
    const bool pads = i / 8 == 2 || i / 8 >= 6;
    EXPECT_EQ(padded.ids[i], pads ? -1 : whole.ids[i]);
    EXPECT_EQ(padded.weights[i], pads ? 0.0f : whole.weights[i]);
  }
  for (int32_t t = 0; t < 9; ++t) {
    Rows alone = in;
    alone.p.rows = 1;
    alone.logits.assign(in.logits.begin() + t * 256, in.logits.begin() + (t + 1) * 256);
    const Routed one = run(alone);
    EXPECT_TRUE(std::equal(one.ids.begin(), one.ids.end(), whole.ids.begin() + t * 8));
    EXPECT_TRUE(std::equal(one.weights.begin(), one.weights.end(), whole.weights.begin() + t * 8));
  }
}

}  // namespace
}  // namespace fathom
