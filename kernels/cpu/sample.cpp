// How is one token drawn without sorting the vocabulary? Tokens are ordered by falling logit only
// as far as the truncation and the draw reach, in bands below the largest logit; almost always the
// first band ends it. The result is exactly that of a full sort with ties to the lower id, and
// depends on (seed, position) alone.
#include "kernels/sample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/philox.h"
#include "kernels/weight_of_logit.h"

namespace fathom {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

constexpr size_t kLanes = 16;

bool all_finite(std::span<const float> logits) {
  // x - x is 0 for finite x and NaN otherwise; counting keeps the loop free of branches.
  int32_t bad = 0;
  for (const float x : logits) bad += !(x - x == 0.0f);
  return bad == 0;
}

// In lanes, so that the compiler may use vectors; NaN never is the largest.
float largest_of(std::span<const float> x) {
  float most[kLanes];
  std::fill_n(most, kLanes, kMasked);
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane)
      most[lane] = x[i + lane] > most[lane] ? x[i + lane] : most[lane];
  for (; i < x.size(); ++i) most[0] = x[i] > most[0] ? x[i] : most[0];
  return *std::max_element(most, most + kLanes);
}

size_t argmax(std::span<const float> x) {
  return static_cast<size_t>(std::find(x.begin(), x.end(), largest_of(x)) - x.begin());
}

// out[i] = the weight of x[i].
void weights_of(const float* x, size_t n, float largest, float temperature, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = weight_of(below_largest(x[i], largest, temperature));
}

// The sum of the weights: exact, so the lanes are for speed only.
double sum_of_weights(std::span<const float> x, float largest, float temperature) {
  constexpr size_t kPiece = 512;
  double sums[kLanes] = {};
  float weights[kPiece];
  for (size_t at = 0; at < x.size(); at += kPiece) {
    const size_t n = std::min(kPiece, x.size() - at);
    weights_of(x.data() + at, n, largest, temperature, weights);
    std::fill(weights + n, weights + kPiece, 0.0f);
    for (size_t i = 0; i < kPiece; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += weights[i + lane];
  }
  return std::accumulate(sums, sums + kLanes, 0.0);
}

double log_sum_exp(std::span<const float> x, float largest) {
  return largest + std::log(sum_of_weights(x, largest, 1.0f));
}

// The n likeliest tokens in falling order; masked ones are never named.
void likeliest(std::span<const float> x, int32_t n, double log_sum, std::vector<Alternative>& top) {
  top.clear();
  const auto most = static_cast<size_t>(std::max(n, 0));
  for (size_t i = 0; most > 0 && i < x.size(); ++i) {
    if (x[i] == kMasked || (top.size() == most && !(x[i] > top.back().logprob))) continue;
    if (top.size() == most) top.pop_back();
    const auto after = std::find_if(top.begin(), top.end(),
                                    [&](const Alternative& a) { return x[i] > a.logprob; });
    top.insert(after, Alternative{static_cast<TokenId>(i), x[i]});
  }
  for (Alternative& a : top) a.logprob = static_cast<float>(a.logprob - log_sum);
}

TokenLogprob logprob_of(std::span<const float> x, size_t target, int32_t alternatives) {
  const double log_sum = log_sum_exp(x, largest_of(x));
  TokenLogprob result{.logprob = static_cast<float>(x[target] - log_sum), .top = {}};
  likeliest(x, alternatives, log_sum, result.top);
  return result;
}

void add_bias(const Sampling& s, std::span<float> x) {
  for (const auto& [token, bias] : s.logit_bias)
    if (token >= 0 && static_cast<size_t>(token) < x.size()) x[static_cast<size_t>(token)] += bias;
}

void add_penalties(const Sampling& s, std::span<const TokenCount> counts, std::span<float> x) {
  for (const TokenCount& c : counts) {
    if (c.token < 0 || static_cast<size_t>(c.token) >= x.size()) continue;
    float& v = x[static_cast<size_t>(c.token)];
    v = v > 0 ? v / s.repetition_penalty : v * s.repetition_penalty;
    if (c.in_output == 0) continue;
    v -= s.frequency_penalty * static_cast<float>(c.in_output);
    v -= s.presence_penalty;
  }
}

void mask_stops(const Sampling& s, int32_t emitted, std::span<float> x) {
  if (emitted >= s.min_tokens) return;
  for (const TokenId token : s.stop_tokens)
    if (token >= 0 && static_cast<size_t>(token) < x.size())
      x[static_cast<size_t>(token)] = kMasked;
}

// Copies the logits to `to` as the model's distribution after bias, penalties and mask.
Status adjust(const SampleInput& in, std::vector<float>& to) {
  if (in.logits.empty())
    return Error{Code::internal, "there are no logits to sample from", "logits"};
  if (!all_finite(in.logits))
    return Error{Code::internal, "the model computed a logit that is not finite", "logits"};
  to.assign(in.logits.begin(), in.logits.end());
  add_bias(*in.sampling, to);
  add_penalties(*in.sampling, in.counts, to);
  mask_stops(*in.sampling, in.emitted, to);
  // A bias of -inf is a mask too; NaN and +inf are not.
  const float largest = largest_of(to);
  if (!std::isfinite(largest)) return Error{Code::internal, "no token can be drawn", "logits"};
  return {};
}

// Tokens by falling logit with their weights (weight_of_logit.h), sorted as far as asked.
// `kept` holds them in its probability field until they are normalised.
class Falling {
 public:
  Falling(std::span<const float> x, float temperature, std::vector<Candidate>& kept)
      : x_(x), temperature_(temperature), largest_(largest_of(x)), kept_(kept) {
    kept_.clear();
  }
  bool reaches(TokenId token, float low) const {
    return below(x_[static_cast<size_t>(token)]) >= low;
  }
  double total() const { return sum_of_weights(x_, largest_, temperature_); }
  // Makes kept[i] exist if there are so many tokens; `most` promises that no more will be asked
  // for.
  bool reach(size_t i, size_t most = SIZE_MAX) {
    while (kept_.size() <= i && band_ < kBands.size()) next_band(most);
    return i < kept_.size();
  }

 private:
  static constexpr std::array<float, 8> kBands = {-2, -5, -8, -11, -15, -20, -40, kMasked};

  float below(float x) const { return below_largest(x, largest_, temperature_); }
  // Most runs of 16 tokens hold none of a band: one vector comparison passes them over.
  bool any_reaches(const float* x, float low) const {
    int32_t reached = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) reached += below(x[lane]) >= low;
    return reached != 0;
  }

  void next_band(size_t most) {
    const float high = band_ == 0 ? std::numeric_limits<float>::infinity() : kBands[band_ - 1];
    const float low = kBands[band_++];
    const size_t from = kept_.size();
    for (size_t t = 0; t < x_.size(); t += kLanes) {
      const auto some = x_.subspan(t, std::min<size_t>(kLanes, x_.size() - t));
      if (some.size() == kLanes && !any_reaches(some.data(), low)) continue;
      for (size_t i = 0; i < some.size(); ++i)
        if (const float y = below(some[i]); y >= low && y < high && some[i] != kMasked)
          kept_.push_back({static_cast<TokenId>(t + i), some[i]});
    }
    const auto begin = kept_.begin() + static_cast<std::ptrdiff_t>(from);
    const auto likelier = [](const Candidate& a, const Candidate& b) {
      return a.probability > b.probability || (a.probability == b.probability && a.token < b.token);
    };
    if (kept_.size() > most) {
      std::nth_element(begin, kept_.begin() + static_cast<std::ptrdiff_t>(most), kept_.end(),
                       likelier);
      kept_.resize(most);
    }
    std::sort(kept_.begin() + static_cast<std::ptrdiff_t>(from), kept_.end(), likelier);
    for (size_t i = from; i < kept_.size(); ++i)
      kept_[i].probability = weight_of(below(kept_[i].probability));
  }

  std::span<const float> x_;
  float temperature_, largest_;
  std::vector<Candidate>& kept_;
  size_t band_ = 0;
};

double sum_of(std::span<const Candidate> kept) {
  double sum = 0;
  for (const Candidate& c : kept) sum += c.probability;
  return sum;
}

// Cuts `kept` by top-k, top-p and min-p. Returns the weight of what survives; `kept` holds all of
// it when something was cut, and otherwise as much as the draw will ask for.
double truncate(const Sampling& s, size_t vocab, Falling& falling, std::vector<Candidate>& kept) {
  const bool by_count = s.top_k > 0 && static_cast<size_t>(s.top_k) < vocab;
  bool whole = false;  // kept is all there is
  if (by_count) {
    const auto k = static_cast<size_t>(s.top_k);
    falling.reach(k - 1, k);
    if (kept.size() > k) kept.resize(k);
    whole = true;
  }
  double total = whole ? sum_of(kept) : falling.total();
  const auto exists = [&](size_t i) { return whole ? i < kept.size() : falling.reach(i); };
  if (s.top_p < 1.0f) {
    double mass = 0;
    size_t n = 0;
    while (exists(n) && (n == 0 || mass < double{s.top_p} * total)) mass += kept[n++].probability;
    kept.resize(n);
    whole = true;
    total = mass;
  }
  if (s.min_p > 0.0f) {
    const float low = lowest_by_min_p(s.min_p);
    size_t n = 1;
    while (exists(n) && falling.reaches(kept[n].token, low)) ++n;
    kept.resize(std::min(n, kept.size()));
    total = sum_of(kept);
  }
  return total;
}

}  // namespace

Result<Sampled> Sampler::sample(const SampleInput& input) {
  FATHOM_CHECKED(adjust(input, logits_));
  const Sampling& s = *input.sampling;
  Sampled result;
  if (s.temperature <= 0.0f) {
    result.token = static_cast<TokenId>(argmax(logits_));
  } else {
    Falling falling(logits_, s.temperature, candidates_);
    const double total = truncate(s, logits_.size(), falling, candidates_);
    const bool cut = s.top_p < 1.0f || s.min_p > 0.0f ||
                     (s.top_k > 0 && static_cast<size_t>(s.top_k) < logits_.size());
    const double point = philox_uniform(s.seed, static_cast<uint64_t>(input.position)) * total;
    double mass = 0;
    size_t i = 0;
    // Rounding may leave the point above the whole mass: then the last token is meant.
    for (; cut ? i < candidates_.size() : falling.reach(i); ++i) {
      mass += candidates_[i].probability;
      if (mass > point) break;
    }
    result.token = candidates_[std::min(i, candidates_.size() - 1)].token;
  }
  if (s.logprobs >= 0)
    result.logprob = logprob_of(logits_, static_cast<size_t>(result.token), s.logprobs);
  return result;
}

Result<std::span<const Candidate>> Sampler::candidates(const SampleInput& input) {
  FATHOM_CHECKED(adjust(input, logits_));
  const Sampling& s = *input.sampling;
  if (s.temperature <= 0.0f) {
    candidates_.assign(1, {static_cast<TokenId>(argmax(logits_)), 1.0f});
    return std::span<const Candidate>(candidates_);
  }
  Falling falling(logits_, s.temperature, candidates_);
  const double total = truncate(s, logits_.size(), falling, candidates_);
  const bool cut = s.top_p < 1.0f || s.min_p > 0.0f ||
                   (s.top_k > 0 && static_cast<size_t>(s.top_k) < logits_.size());
  if (!cut) falling.reach(logits_.size());
  for (Candidate& c : candidates_) c.probability = static_cast<float>(c.probability / total);
  return std::span<const Candidate>(candidates_);
}

Result<TokenLogprob> Sampler::score(std::span<const float> logits, TokenId target,
                                    int32_t alternatives) {
  if (target < 0 || static_cast<size_t>(target) >= logits.size())
    return Error{Code::internal, "a token to score is outside the vocabulary", "target"};
  if (!all_finite(logits))
    return Error{Code::internal, "the model computed a logit that is not finite", "logits"};
  return logprob_of(logits, static_cast<size_t>(target), alternatives);
}

}  // namespace fathom
