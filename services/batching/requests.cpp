// How does a request begin, and how does it end? Every accepted one ends exactly once, with one
// terminal event: tokens with a finish, or Finished. What can never be served is refused here,
// before it takes a place.
#include <algorithm>
#include <string>

#include "batching/state.h"

namespace fathom {
namespace {

std::optional<Error> malformed(const Submit& submit) {
  const int64_t length = static_cast<int64_t>(submit.tokens.size());
  if (submit.prompt_tokens < 1 || submit.prompt_tokens > length) {
    return invalid("a request needs a prompt of at least one token", "prompt");
  }
  if (length > INT32_MAX / 2) return invalid("the prompt is too long", "prompt");
  if (submit.sampling.max_tokens < 0) return invalid("max_tokens is negative", "max_tokens");
  return std::nullopt;
}

Instant deadline_of(Instant now, Duration time_left) {
  if (time_left.ns >= INT64_MAX - std::max<int64_t>(now.ns, 0)) return kNever;
  return now + time_left;
}

}  // namespace

void Batcher::State::submit(GatewayId gateway, Submit&& submit) {
  const RequestKey key{gateway, submit.id};
  if (table.find(key)) {
    return refuse(key, {Code::already_exists, "this request is already running", "id"});
  }
  if (draining) {
    const Error error{Code::unavailable, "the router is shutting down", ""};
    return refuse(key, error, config.retry_after);
  }
  if (auto error = malformed(submit)) return refuse(key, std::move(*error));
  // One whose answer has begun lost its router; it is as if it had been placed here, and never
  // refused.
  const bool resumed = static_cast<int64_t>(submit.tokens.size()) > submit.prompt_tokens;
  std::optional<Error> error;
  if (!resumed) error = queue.refusal(submit.tenant, static_cast<int64_t>(submit.tokens.size()));
  if (!error && table.full()) {
    error = Error{Code::resource_exhausted, "the router holds too many requests", "queue_max"};
  }
  if (error) {
    ++counters.refused;
    return refuse(key, std::move(*error), config.retry_after);
  }

  Request& request = table.add(key);
  request.tokens = std::move(submit.tokens);
  request.prompt_tokens = submit.prompt_tokens;
  request.resumed = resumed;
  request.sampling = std::move(submit.sampling);
  // A gateway that sends emitted tokens along has had the prompt's log-probabilities too.
  if (resumed) request.prompt_logprobs = request.prompt_tokens - 1;
  request.trace = {.key = key,
                   .arrived = now,
                   .admitted = kNever,
                   .first_token = kNever,
                   .ended = kNever,
                   .prompt_tokens = request.prompt_tokens};
  request.deadline = deadline_of(now, submit.time_left);
  if (request.deadline != kNever) {
    deadlines.emplace(request.deadline, request.arrival, &request);
  }
  ++counters.arrived;
  queue.enter(request, submit.tenant);
  queue.add(request);
  admit_again = true;

  if (resumed && request.emitted() >= request.sampling.max_tokens) {
    events.emplace_back(gateway,
                        Tokens{.id = key.id, .first = request.emitted(), .finish = Finish::length});
    end(request, Finish::length, Code::ok);
  } else if (auto too_long_error = too_long(request)) {
    fail(request, std::move(*too_long_error));
  }
}

// One that has begun waits instead: a worker that could hold it was there, and may come back.
std::optional<Error> Batcher::State::too_long(const Request& request) const {
  if (request.resumed) return std::nullopt;
  const bool scores = request.sampling.max_tokens == 0;
  const int32_t longest = scores ? longest_ever.prefill : longest_ever.both();
  const int32_t needed = request.length() + (scores ? 0 : 1);
  if (longest == 0 || needed <= longest)
    return std::nullopt;  // 0: nobody came yet, so nobody knows
  return invalid("the prompt has " + std::to_string(request.length()) +
                     " tokens; with the answer at most " + std::to_string(longest) + " fit",
                 "prompt");
}

void Batcher::State::refuse(const RequestKey& key, Error error, Duration retry_after) {
  events.emplace_back(key.gateway, Finished{.id = key.id,
                                            .finish = Finish::failed,
                                            .error = std::move(error),
                                            .retry_after = retry_after});
}

void Batcher::State::cancel(Request& request) {
  events.emplace_back(request.key.gateway,
                      Finished{.id = request.key.id, .finish = Finish::cancelled});
  end(request, Finish::cancelled, Code::cancelled);
}

void Batcher::State::expire() {
  while (!deadlines.empty() && std::get<0>(*deadlines.begin()) <= now) {
    fail(*std::get<2>(*deadlines.begin()),
         {Code::deadline_exceeded, "the request's time is over", "timeout"});
  }
}

void Batcher::State::fail(Request& request, Error error, const WorkerView* freed_by) {
  const Code code = error.code;
  const bool again = code == Code::unavailable || code == Code::resource_exhausted;
  refuse(request.key, std::move(error), again ? config.retry_after : Duration{});
  end(request, Finish::failed, code, freed_by);
}

void Batcher::State::end(Request& request, Finish finish, Code code, const WorkerView* freed_by) {
  if (request.placed()) {
    release(request, freed_by);
  } else {
    queue.remove(request);
  }
  if (claim.holder == &request) claim = {};
  if (request.deadline != kNever) {
    deadlines.erase({request.deadline, request.arrival, &request});
  }
  counters.blocks_of_finished += request.place.prefill_blocks + request.place.grant.blocks;
  queue.leave(request);
  request.trace.ended = now;
  latencies.request.add(now - request.trace.arrived);
  request.trace.emitted = request.emitted();
  request.trace.finish = finish;
  request.trace.code = code;
  traces.push_back(request.trace);
  table.erase(request);
  admit_again = true;
}

}  // namespace fathom
