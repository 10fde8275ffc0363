// Does the GPU's sampler give the CPU's tokens, log-probabilities and errors, to the bit? Thousands
// of random rows of every kind, compared one by one.
#include <limits>
#include <random>

#include "kernels/batch_sampler.h"
#include "on_gpu.h"

namespace fathom {
namespace {

class CudaSampler : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (!IsSkipped()) gpu_ = make_cuda_sampler(*device);
  }
  void TearDown() override {
    gpu_.reset();
    OnGpu::TearDown();
  }

  // What one row asks for, with its own storage.
  struct Row {
    std::vector<float> logits;
    Sampling sampling;
    int32_t position = 0, emitted = 0;
    std::vector<TokenCount> counts;
    SampleInput on_host() const {
      return {.logits = logits,
              .sampling = &sampling,
              .position = position,
              .emitted = emitted,
              .counts = counts};
    }
  };

  static std::string text(const Result<Sampled>& r) {
    if (!r.ok()) return r.error().text();
    std::ostringstream out;
    out.precision(9);
    out << r->token << " lp " << r->logprob.logprob;
    for (const Alternative& a : r->logprob.top) out << ' ' << a.token << ':' << a.logprob;
    return out.str();
  }
  static std::string text(const Sampling& s) {
    std::ostringstream out;
    out.precision(9);
    out << "T " << s.temperature << " p " << s.top_p << " k " << s.top_k << " min " << s.min_p
        << " rep " << s.repetition_penalty << " biases " << s.logit_bias.size() << " logprobs "
        << s.logprobs << " min_tokens " << s.min_tokens;
    return out.str();
  }

  // All rows in one call on the GPU against each alone on the CPU.
  void expect_equal(const std::vector<Row>& rows) {
    const size_t vocab = rows.front().logits.size();
    std::vector<float> all;
    for (const Row& r : rows) all.insert(all.end(), r.logits.begin(), r.logits.end());
    const float* there = put(all);
    std::vector<SampleInput> inputs;
    for (size_t i = 0; i < rows.size(); ++i) {
      inputs.push_back(rows[i].on_host());
      inputs.back().logits = {there + i * vocab, rows[i].logits.size()};
    }
    const auto got = gpu_->sample(inputs);
    ASSERT_EQ(got.size(), rows.size());
    int wrong = 0;
    for (size_t i = 0; i < rows.size() && wrong < 5; ++i) {
      const auto want = cpu_.sample(rows[i].on_host());
      const bool same =
          got[i].ok() == want.ok() &&
          (want.ok() ? got[i]->token == want->token && got[i]->logprob == want->logprob
                     : got[i].error() == want.error());
      EXPECT_TRUE(same) << "vocab " << vocab << " row " << i << ' ' << text(rows[i].sampling)
                        << "\n got " << text(got[i]) << "\nwant " << text(want);
      wrong += !same;
      ++compared_;
    }
  }

  std::vector<float> random_logits(size_t vocab) {
    std::normal_distribution<float> normal(0.0f, 1.0f);
    const float spreads[] = {0.0f, 0.02f, 1.0f, 3.0f, 3.0f, 8.0f, 30.0f};
    const float spread = spreads[draw(7)];
    const bool coarse = draw(3) == 0;  // many ties
    std::vector<float> v(vocab);
    const float shift = draw(4) == 0 ? normal(random_) * 20 : 0.0f;
    for (float& x : v) {
      x = normal(random_) * spread;
      x = (coarse ? std::round(x) : x) + shift;
    }
    return v;
  }
  uint32_t draw(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  TokenId token(size_t vocab) { return static_cast<TokenId>(draw(static_cast<uint32_t>(vocab))); }

  Row random_row(size_t vocab) {
    Row r{.logits = random_logits(vocab)};
    Sampling& s = r.sampling;
    const float temperatures[] = {0.0f, 0.3f, 0.7f, 1.0f, 1.0f, 1.3f, 2.5f, 100.0f};
    s.temperature = temperatures[draw(8)];
    const float ps[] = {1.0f, 1.0f, 0.999f, 0.95f, 0.9f, 0.5f, 0.01f};
    s.top_p = ps[draw(7)];
    const int32_t ks[] = {0, 0, 0, 1, 2, 50, 1000, 1'000'000};
    s.top_k = ks[draw(8)];
    const float mins[] = {0.0f, 0.0f, 0.0f, 0.02f, 0.1f, 1.0f, 1e-7f};
    s.min_p = mins[draw(7)];
    s.seed = random_();
    s.logprobs = static_cast<int32_t>(draw(8)) * 3 - 4;  // -4 .. 17
    r.position = static_cast<int32_t>(draw(100'000));
    if (draw(4) == 0)
      for (uint32_t i = draw(300); i > 0; --i)
        s.logit_bias.emplace_back(draw(10) == 0 ? -1 : token(vocab + 3),
                                  draw(9) == 0 ? -std::numeric_limits<float>::infinity()
                                               : static_cast<float>(draw(2000)) * 0.01f - 10.0f);
    if (draw(4) == 0) {
      s.repetition_penalty = 1.3f;
      s.frequency_penalty = 0.21f;
      s.presence_penalty = -0.4f;
      const uint32_t step = 1 + draw(40);
      for (TokenId t = static_cast<TokenId>(draw(step)); t < static_cast<TokenId>(vocab);
           t += static_cast<TokenId>(1 + draw(step)))
        r.counts.push_back({t, static_cast<int32_t>(draw(4))});
    }
    if (draw(4) == 0) {
      s.min_tokens = 4;
      r.emitted = static_cast<int32_t>(draw(6));
      for (uint32_t i = draw(5); i > 0; --i) s.stop_tokens.push_back(token(vocab));
    }
    if (draw(40) == 0)
      r.logits[token(vocab)] = draw(2) == 0 ? std::numeric_limits<float>::quiet_NaN()
                                            : std::numeric_limits<float>::infinity();
    return r;
  }

  std::unique_ptr<BatchSampler> gpu_;
  Sampler cpu_;
  std::mt19937 random_{20261127};
  int compared_ = 0;
};

TEST_F(CudaSampler, greedy_rows_are_the_argmax_with_ties_to_the_lower_id) {
  for (const size_t vocab : {1u, 2u, 7u, 64u, 1001u, 32003u, 129280u}) {
    std::vector<Row> rows;
    for (int i = 0; i < 9; ++i) {
      rows.push_back({.logits = random_logits(vocab), .sampling = {.temperature = 0.0f}});
      if (i == 4) rows.back().logits[vocab - 1] = NAN;
      if (i == 5) rows.back().logits[vocab / 2] = -INFINITY;
      if (i == 6)
        std::fill(rows.back().logits.begin(), rows.back().logits.end(), -0.0f),
            rows.back().logits[vocab - 1] = 0.0f;
    }
    expect_equal(rows);
  }
}

TEST_F(CudaSampler, draws_without_truncation_are_the_cpus) {
  for (const size_t vocab : {1u, 5u, 300u, 5000u, 129280u}) {
    std::vector<Row> rows;
    for (int i = 0; i < 16; ++i) {
      rows.push_back({.logits = random_logits(vocab), .sampling = {.seed = random_()}});
      rows.back().position = i;
    }
    expect_equal(rows);
  }
}

TEST_F(CudaSampler, each_kind_of_truncation_alone_is_the_cpus) {
  for (const size_t vocab : {5u, 300u, 151936u})
    for (const Sampling& s :
         {Sampling{.top_k = 3}, Sampling{.top_k = 200}, Sampling{.top_p = 0.9f},
          Sampling{.top_p = 0.3f}, Sampling{.min_p = 0.1f}, Sampling{.min_p = 1.0f},
          Sampling{.temperature = 0.0f, .logprobs = 20}, Sampling{.logprobs = 0}}) {
      std::vector<Row> rows;
      for (int i = 0; i < 8; ++i) {
        rows.push_back({.logits = random_logits(vocab), .sampling = s});
        rows.back().sampling.seed = random_();
      }
      expect_equal(rows);
    }
}

TEST_F(CudaSampler, thousands_of_random_rows_are_the_cpus) {
  constexpr int kTimes = kGpuIsEmulated ? 2 : 40;
  for (int time = 0; time < kTimes; ++time)
    for (const size_t vocab : {3u, 37u, 1024u, 4097u, 30001u}) {
      std::vector<Row> rows(vocab > 20000 ? 4 : 24);
      for (Row& r : rows) r = random_row(vocab);
      expect_equal(rows);
      if (HasFailure()) return;
    }
  EXPECT_EQ(compared_, 100 * kTimes);
}

TEST_F(CudaSampler, large_vocabularies_are_the_cpus) {
  for (const size_t vocab : {129280u, 151936u, 152064u, 500'001u}) {
    std::vector<Row> rows(12);
    for (Row& r : rows) r = random_row(vocab);
    expect_equal(rows);
    if (HasFailure()) return;
  }
}

TEST_F(CudaSampler, rows_that_fail_do_so_alone) {
  std::vector<Row> rows(5);
  for (Row& r : rows) r = {.logits = random_logits(100), .sampling = {.temperature = 0.0f}};
  rows[1].logits[99] = NAN;
  rows[2].sampling = {.logprobs = 2};
  rows[2].logits[0] = INFINITY;
  rows[3].sampling.min_tokens = 1;
  for (TokenId t = 0; t < 100; ++t) rows[3].sampling.stop_tokens.push_back(t);
  expect_equal(rows);
}

// Two calls are begun before the first is waited for, as two steps in flight do.
TEST_F(CudaSampler, calls_in_two_halves_are_the_cpus_and_leave_their_tokens_on_the_device) {
  for (int time = 0; time < 12; ++time) {
    const size_t vocab = time < 10 ? 4097 : 32003;
    std::vector<std::vector<Row>> calls(2);
    std::vector<TokenId*> drawn;
    for (auto& rows : calls) {
      rows.resize(1 + draw(12));
      std::vector<SampleInput> inputs;
      for (Row& r : rows) {
        r = random_row(vocab);
        inputs.push_back(r.on_host());
        inputs.back().logits = {put(r.logits), vocab};
      }
      drawn.push_back(room<TokenId>(rows.size()));
      gpu_->begin(inputs, drawn.back());
    }
    for (size_t call = 0; call < calls.size(); ++call) {
      const auto& rows = calls[call];
      const auto got = gpu_->finish();
      ASSERT_TRUE(got.ok()) << got.error().text();
      ASSERT_EQ(got->size(), rows.size());
      const auto ids = get(drawn[call], rows.size());
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto want = cpu_.sample(rows[i].on_host());
        EXPECT_EQ(text((*got)[i]), text(want)) << text(rows[i].sampling);
        EXPECT_EQ(ids[i], want.ok() ? want->token : 0);
      }
    }
  }
}

TEST_F(CudaSampler, scores_are_the_cpus) {
  for (const size_t vocab : {2u, 999u, 129280u}) {
    std::vector<std::vector<float>> logits;
    std::vector<ScoreInput> inputs;
    for (int i = 0; i < 7; ++i) {
      logits.push_back(random_logits(vocab));
      if (i == 3) logits.back()[0] = NAN;
      inputs.push_back({.logits = {put(logits.back()), vocab},
                        .target = i == 5 ? static_cast<TokenId>(vocab) : token(vocab),
                        .alternatives = i * 20 / 6});
    }
    const auto got = gpu_->score(inputs);
    ASSERT_EQ(got.size(), inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto want = cpu_.score(logits[i], inputs[i].target, inputs[i].alternatives);
      ASSERT_EQ(got[i].ok(), want.ok()) << vocab << ' ' << i;
      if (want.ok())
        EXPECT_EQ(*got[i], *want) << vocab << ' ' << i;
      else
        EXPECT_EQ(got[i].error(), want.error());
    }
  }
}

}  // namespace
}  // namespace fathom
