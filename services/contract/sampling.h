// How is the next token chosen, and when does a sequence end? What a client asks for, already
// checked by the gateway; the router carries it untouched and the worker obeys it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/ids.h"

namespace fathom {

inline constexpr int kTopLogprobsMax = 20;

struct Sampling {
  float temperature = 1.0f;  // 0 is greedy
  float top_p = 1.0f;        // (0, 1]
  int32_t top_k = 0;         // 0 is off
  float min_p = 0.0f;        // [0, 1]; relative to the likeliest token
  float repetition_penalty =
      1.0f;  // over prompt and output; divides positive, multiplies negative logits
  float frequency_penalty = 0.0f;  // over output only, times the count
  float presence_penalty = 0.0f;   // over output only
  std::vector<std::pair<TokenId, float>> logit_bias;
  uint64_t seed = 0;  // the token at position p draws from philox(seed, p)

  std::vector<TokenId>
      stop_tokens;          // end the sequence, finish `stop`; include EOS unless it is ignored
  int32_t min_tokens = 0;   // stop tokens can not be drawn before so many were emitted
  int32_t max_tokens = 16;  // emitted tokens over the request's whole life, finish `length`
  int32_t logprobs = -1;    // -1 none, else so many alternatives (0..20) beside the token
  int32_t prompt_logprobs = -1;  // the same for every prompt token; max_tokens 0 scores only

  bool operator==(const Sampling&) const = default;
};

struct Alternative {
  TokenId token = 0;
  float logprob = 0;
  bool operator==(const Alternative&) const = default;
};

// Log-probability of one token under the model (after penalties and bias, before temperature and
// truncation), with the likeliest alternatives in falling order.
struct TokenLogprob {
  float logprob = 0;
  std::vector<Alternative> top;
  bool operator==(const TokenLogprob&) const = default;
};

enum class Finish : uint8_t { none, stop, length, cancelled, failed };

}  // namespace fathom
