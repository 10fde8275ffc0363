// Is a token drawn as asked, from (seed, position) alone? Distributions are checked by counting
// draws over seeds; each parameter by a row of logits whose answer can be read off.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "kernels/sample.h"

namespace fathom {
namespace {

std::vector<float> random_logits(size_t n, uint32_t seed, float spread = 3.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> v(n);
  for (float& x : v) x = normal(generator);
  return v;
}

TokenId draw(const std::vector<float>& logits, const Sampling& s, int32_t position = 0,
             int32_t emitted = 0, std::span<const TokenCount> counts = {}) {
  Sampler sampler;
  return sampler
      .sample({.logits = logits,
               .sampling = &s,
               .position = position,
               .emitted = emitted,
               .counts = counts})
      .value()
      .token;
}

// How often each token is drawn over seeds, against the probabilities of `candidates`: Pearson's
// chi-square in standard deviations from what it should be. The seeds are fixed, and so is it.
double excess(const std::vector<float>& logits, Sampling s, int draws) {
  Sampler sampler;
  std::map<TokenId, double> expected;
  const auto kept = sampler.candidates({.logits = logits, .sampling = &s}).value();
  for (const Candidate& c : kept) expected[c.token] = c.probability * draws;
  std::map<TokenId, double> seen;
  for (int i = 0; i < draws; ++i) {
    s.seed = static_cast<uint64_t>(i);
    const TokenId token =
        sampler.sample({.logits = logits, .sampling = &s, .position = 17}).value().token;
    EXPECT_TRUE(expected.contains(token)) << "drew a token that was cut: " << token;
    ++seen[token];
  }
  double sum = 0, rare_seen = 0, rare_expected = 0;
  int cells = 0;
  for (const auto& [token, n] : expected) {
    if (n < 5) {
      rare_seen += seen[token];
      rare_expected += n;
      continue;
    }
    sum += (seen[token] - n) * (seen[token] - n) / n;
    ++cells;
  }
  if (rare_expected >= 5)
    sum += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected, ++cells;
  return (sum - (cells - 1)) / std::sqrt(2.0 * std::max(cells - 1, 1));
}

TEST(Sampler, draws_follow_the_candidates) {
  const auto logits = random_logits(200, 1);
  EXPECT_LT(excess(logits, {.temperature = 1.0f}, 20000), 3.5);
  EXPECT_LT(excess(logits, {.temperature = 2.5f}, 20000), 3.5);
  EXPECT_LT(excess(logits, {.temperature = 0.7f, .top_p = 0.9f}, 20000), 3.5);
  EXPECT_LT(excess(logits, {.temperature = 1.3f, .top_k = 20}, 20000), 3.5);
  EXPECT_LT(excess(logits, {.temperature = 1.0f, .min_p = 0.05f}, 20000), 3.5);
  EXPECT_LT(excess(std::vector<float>(64, 1.0f), {.temperature = 1.0f}, 20000), 3.5);
}

TEST(Sampler, temperature_zero_is_the_argmax_with_ties_to_the_lower_id) {
  EXPECT_EQ(draw({1.0f, 3.0f, 3.0f, 2.0f}, {.temperature = 0.0f}), 1);
}

TEST(Sampler, same_seed_and_position_draw_the_same_and_others_do_not) {
  const auto logits = random_logits(1000, 2, 0.5f);
  std::vector<TokenId> first, again, other_seed;
  for (int p = 0; p < 50; ++p) {
    first.push_back(draw(logits, {.seed = 7}, p));
    again.push_back(draw(logits, {.seed = 7}, p));
    other_seed.push_back(draw(logits, {.seed = 8}, p));
  }
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other_seed);
  EXPECT_GT(std::set<TokenId>(first.begin(), first.end()).size(), 30u);
}

TEST(Sampler, reused_buffers_leave_no_trace) {
  const auto small = random_logits(50, 3), large = random_logits(3000, 4);
  const Sampling s{.top_p = 0.9f, .seed = 5};
  Sampler sampler;
  const auto fresh = draw(small, s, 3);
  (void)sampler.sample({.logits = large, .sampling = &s}).value();
  EXPECT_EQ(sampler.sample({.logits = small, .sampling = &s, .position = 3}).value().token, fresh);
}

TEST(Sampler, candidates_equal_a_full_sort) {
  for (const float spread : {0.0f, 0.01f, 1.0f, 20.0f})
    for (const size_t vocab : {1u, 7u, 5000u}) {
      const auto logits = random_logits(vocab, 9, spread);
      std::vector<TokenId> order(vocab);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
        return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
      });
      for (const int32_t k : {0, 1, 3, 64, 4999}) {
        const Sampling s{.temperature = 0.8f, .top_k = k};
        Sampler sampler;
        const auto kept = sampler.candidates({.logits = logits, .sampling = &s}).value();
        ASSERT_EQ(kept.size(), k == 0 ? vocab : std::min<size_t>(vocab, static_cast<size_t>(k)));
        double sum = 0;
        for (size_t i = 0; i < kept.size(); ++i) {
          ASSERT_EQ(kept[i].token, order[i])
              << "spread " << spread << " vocab " << vocab << " k " << k;
          sum += kept[i].probability;
        }
        ASSERT_NEAR(sum, 1.0, 1e-5);
      }
    }
}

TEST(Sampler, bias_moves_a_logit_before_everything_else) {
  EXPECT_EQ(draw({0.0f, 5.0f, 1.0f}, {.temperature = 0.0f, .logit_bias = {{2, 4.5f}, {1, -1.0f}}}),
            2);
  EXPECT_EQ(draw({0.0f, 5.0f}, {.temperature = 0.0f, .logit_bias = {{77, 100.0f}, {-1, 100.0f}}}),
            1)
      << "tokens outside the vocabulary are ignored";
}

TEST(Sampler, penalties_follow_their_definitions) {
  const std::vector<TokenCount> counts = {{0, 0}, {1, 3}, {2, 1}};
  const std::vector<float> logits = {2.0f, 4.0f, -1.0f, 0.0f};
  const Sampling s{.repetition_penalty = 2.0f,
                   .frequency_penalty = 0.5f,
                   .presence_penalty = 0.25f,
                   .logprobs = 4};
  Sampler sampler;
  const auto sampled = sampler.sample({.logits = logits, .sampling = &s, .counts = counts}).value();
  // 0 stands in the prompt only: repetition alone. 1: 4/2 - 3*0.5 - 0.25. 2: -1*2 - 0.5 - 0.25.
  const std::map<TokenId, double> adjusted = {{0, 1.0}, {1, 0.25}, {2, -2.75}, {3, 0.0}};
  double sum = 0;
  for (const auto& [token, x] : adjusted) sum += std::exp(x);
  ASSERT_EQ(sampled.logprob.top.size(), 4u);
  EXPECT_EQ(sampled.logprob.top[0].token, 0);
  EXPECT_EQ(sampled.logprob.top[3].token, 2);
  for (const Alternative& a : sampled.logprob.top)
    EXPECT_NEAR(a.logprob, adjusted.at(a.token) - std::log(sum), 1e-6) << a.token;
}

TEST(Sampler, stop_tokens_wait_for_min_tokens) {
  const Sampling s{.temperature = 0.0f, .stop_tokens = {1, 2}, .min_tokens = 3, .logprobs = 3};
  const std::vector<float> logits = {0.0f, 9.0f, 8.0f};
  EXPECT_EQ(draw(logits, s, 10, 2), 0);
  EXPECT_EQ(draw(logits, s, 11, 3), 1);
  Sampler sampler;
  const auto masked = sampler.sample({.logits = logits, .sampling = &s, .emitted = 0}).value();
  EXPECT_EQ(masked.logprob.top.size(), 1u) << "a masked token is no alternative";
  EXPECT_NEAR(masked.logprob.logprob, 0.0f, 1e-6);
}

TEST(Sampler, logprobs_are_of_the_model_not_of_temperature_or_truncation) {
  const auto logits = random_logits(500, 6);
  const Sampling s{.temperature = 0.3f, .top_k = 2, .seed = 3, .logprobs = 20};
  Sampler sampler;
  const auto sampled = sampler.sample({.logits = logits, .sampling = &s}).value();
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x});
  EXPECT_NEAR(sampled.logprob.logprob, logits[static_cast<size_t>(sampled.token)] - std::log(sum),
              1e-5);
  auto sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  ASSERT_EQ(sampled.logprob.top.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(sampled.logprob.top[i].logprob, sorted[i] - std::log(sum), 1e-5);
    EXPECT_EQ(logits[static_cast<size_t>(sampled.logprob.top[i].token)], sorted[i]);
  }
  const auto scored = sampler.score(logits, sampled.token, 20).value();
  EXPECT_EQ(scored, sampled.logprob);
}

TEST(Sampler, no_logprobs_unless_asked) {
  Sampler sampler;
  const Sampling none{.temperature = 0.0f}, only{.temperature = 0.0f, .logprobs = 0};
  const std::vector<float> logits = {1.0f, 2.0f};
  EXPECT_EQ(sampler.sample({.logits = logits, .sampling = &none}).value().logprob, TokenLogprob{});
  const auto one = sampler.sample({.logits = logits, .sampling = &only}).value();
  EXPECT_TRUE(one.logprob.top.empty());
  EXPECT_NEAR(one.logprob.logprob, -std::log(1 + std::exp(-1.0)), 1e-6);
}

TEST(Sampler, logits_that_are_not_finite_are_an_internal_error) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {NAN, infinity, -infinity}) {
    Sampler sampler;
    const Sampling s;
    const std::vector<float> logits = {0.0f, bad, 1.0f};
    const auto result = sampler.sample({.logits = logits, .sampling = &s});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Code::internal);
    EXPECT_FALSE(sampler.score(logits, 0, 2).ok());
  }
}

TEST(Sampler, everything_masked_is_an_error_not_a_token) {
  Sampler sampler;
  const Sampling s{.stop_tokens = {0, 1}, .min_tokens = 1};
  const std::vector<float> logits = {0.0f, 1.0f};
  EXPECT_FALSE(sampler.sample({.logits = logits, .sampling = &s}).ok());
}

}  // namespace
}  // namespace fathom
