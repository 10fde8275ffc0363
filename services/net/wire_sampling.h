// How do sampling options, log-probabilities and failures look on the wire? Both internal protocols
// share them. from_wire marks in `fields` what a well-behaved peer would never send. Private to
// net/.
#pragma once

#include "base/result.h"
#include "contract/sampling.h"
#include "net/wire_fields.h"
#include "sampling.pb.h"

namespace fathom::wire {

void to_wire(const Sampling& from, v1::Sampling& to);
Sampling from_wire(const v1::Sampling& from, Fields& fields);

void to_wire(const TokenLogprob& from, v1::TokenLogprob& to);
// At most kTopLogprobsMax alternatives, as many numbers as tokens. Any float is let through: a
// model may rate a token -inf, and what a NaN means is for those to say who show it.
TokenLogprob from_wire(const v1::TokenLogprob& from, Fields& fields);

v1::Finish to_wire(Finish from);
Finish from_wire(v1::Finish from, Fields& fields);

void to_wire(const Error& from, v1::Failure& to);
Error from_wire(const v1::Failure& from, Fields& fields);

template <class Repeated>
void logprobs_to_wire(const std::vector<TokenLogprob>& from, Repeated& to) {
  for (const TokenLogprob& logprob : from) to_wire(logprob, *to.Add());
}
template <class Repeated>
std::vector<TokenLogprob> logprobs_from_wire(const Repeated& from, Fields& fields) {
  std::vector<TokenLogprob> to;
  to.reserve(static_cast<size_t>(from.size()));
  for (const v1::TokenLogprob& logprob : from) to.push_back(from_wire(logprob, fields));
  return to;
}

}  // namespace fathom::wire
