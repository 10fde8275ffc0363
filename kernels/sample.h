// How does a row of logits become a token? Order of operations: logit bias; repetition, frequency
// and presence penalties; min_tokens mask; log-probabilities are read here; then temperature,
// top-k, top-p, min-p and one draw from philox(seed, position). Pure, so the CPU version is the
// specification of the GPU one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "contract/sampling.h"

namespace fathom {

// Occurrences of one token; only tokens that occur are listed, sorted by token.
struct TokenCount {
  TokenId token = 0;
  int32_t in_output = 0;  // 0: it stands in the prompt only
  bool operator==(const TokenCount&) const = default;
};

struct SampleInput {
  std::span<const float> logits;  // [vocab]
  const Sampling* sampling = nullptr;
  int32_t position = 0;                // of the token being drawn: prompt + emitted so far
  int32_t emitted = 0;                 // so far; below min_tokens the stop tokens are masked
  std::span<const TokenCount> counts;  // needed only when a penalty is on
};

struct Sampled {
  TokenId token = -1;
  TokenLogprob logprob;  // filled when sampling->logprobs >= 0
};

// The candidates that survive truncation with their final probabilities, likeliest first; ties to
// the lower id.
struct Candidate {
  TokenId token;
  float probability;
};

// Reused buffers, so that a step allocates nothing.
class Sampler {
 public:
  // INTERNAL when a logit is not finite.
  Result<Sampled> sample(const SampleInput& input);
  // What `sample` draws from; valid until the next call.
  Result<std::span<const Candidate>> candidates(const SampleInput& input);
  // Log-probability of `target` under the raw logits, with alternatives.
  Result<TokenLogprob> score(std::span<const float> logits, TokenId target, int32_t alternatives);

 private:
  std::vector<float> logits_;
  std::vector<Candidate> candidates_;
};

}  // namespace fathom
