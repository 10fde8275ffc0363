#include "net/wire_sampling.h"

namespace fathom::wire {

void to_wire(const Sampling& from, v1::Sampling& to) {
  to.set_temperature(from.temperature);
  to.set_top_p(from.top_p);
  to.set_top_k(from.top_k);
  to.set_min_p(from.min_p);
  to.set_repetition_penalty(from.repetition_penalty);
  to.set_frequency_penalty(from.frequency_penalty);
  to.set_presence_penalty(from.presence_penalty);
  for (const auto& [token, bias] : from.logit_bias) {
    v1::LogitBias& entry = *to.add_logit_bias();
    entry.set_token(token);
    entry.set_bias(bias);
  }
  to.set_seed(from.seed);
  to.mutable_stop_tokens()->Add(from.stop_tokens.begin(), from.stop_tokens.end());
  to.set_min_tokens(from.min_tokens);
  to.set_max_tokens(from.max_tokens);
  to.set_logprobs(from.logprobs);
  to.set_prompt_logprobs(from.prompt_logprobs);
}

Sampling from_wire(const v1::Sampling& from, Fields& fields) {
  Sampling to;
  to.temperature = fields.finite(from.temperature(), "sampling.temperature");
  fields.require(to.temperature >= 0, "sampling.temperature", "must not be negative");
  to.top_p = from.top_p();
  fields.require(to.top_p > 0 && to.top_p <= 1, "sampling.top_p", "must be in (0, 1]");
  to.top_k = fields.not_negative(from.top_k(), "sampling.top_k");
  to.min_p = from.min_p();
  fields.require(to.min_p >= 0 && to.min_p <= 1, "sampling.min_p", "must be in [0, 1]");
  to.repetition_penalty = fields.finite(from.repetition_penalty(), "sampling.repetition_penalty");
  fields.require(to.repetition_penalty > 0, "sampling.repetition_penalty",
                 "must be greater than 0");
  to.frequency_penalty = fields.finite(from.frequency_penalty(), "sampling.frequency_penalty");
  to.presence_penalty = fields.finite(from.presence_penalty(), "sampling.presence_penalty");
  to.logit_bias.reserve(static_cast<size_t>(from.logit_bias_size()));
  for (const v1::LogitBias& entry : from.logit_bias()) {
    fields.require(!std::isnan(entry.bias()), "sampling.logit_bias", "must be a number");
    to.logit_bias.emplace_back(fields.not_negative(entry.token(), "sampling.logit_bias"),
                               entry.bias());
  }
  to.seed = from.seed();
  to.stop_tokens = fields.tokens(from.stop_tokens(), "sampling.stop_tokens");
  to.min_tokens = fields.not_negative(from.min_tokens(), "sampling.min_tokens");
  to.max_tokens = fields.not_negative(from.max_tokens(), "sampling.max_tokens");
  to.logprobs = fields.within(from.logprobs(), -1, kTopLogprobsMax, "sampling.logprobs");
  to.prompt_logprobs =
      fields.within(from.prompt_logprobs(), -1, kTopLogprobsMax, "sampling.prompt_logprobs");
  return to;
}

void to_wire(const TokenLogprob& from, v1::TokenLogprob& to) {
  to.set_logprob(from.logprob);
  for (const Alternative& alternative : from.top) {
    to.add_top_tokens(alternative.token);
    to.add_top_logprobs(alternative.logprob);
  }
}

TokenLogprob from_wire(const v1::TokenLogprob& from, Fields& fields) {
  TokenLogprob to;
  to.logprob = from.logprob();
  const int count = from.top_tokens_size();
  const bool fits = count <= kTopLogprobsMax && count == from.top_logprobs_size();
  fields.require(fits, "top_tokens", "must be as many as top_logprobs, at most 20");
  if (!fits) return to;
  to.top.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i)
    to.top.push_back({fields.not_negative(from.top_tokens(i), "top_tokens"), from.top_logprobs(i)});
  return to;
}

v1::Finish to_wire(Finish from) { return static_cast<v1::Finish>(from); }

Finish from_wire(v1::Finish from, Fields& fields) {
  const int number = static_cast<int>(from);
  return static_cast<Finish>(fields.within(number, 0, static_cast<int>(Finish::failed), "finish"));
}

void to_wire(const Error& from, v1::Failure& to) {
  to.set_code(static_cast<int>(from.code));
  to.set_message(from.message);
  to.set_field(from.field);
}

Error from_wire(const v1::Failure& from, Fields& fields) {
  const int code =
      fields.within(from.code(), 0, static_cast<int>(Code::unauthenticated), "error.code");
  return {static_cast<Code>(code), from.message(), from.field()};
}

}  // namespace fathom::wire
