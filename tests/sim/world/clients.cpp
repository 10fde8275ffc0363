#include "tests/sim/world/clients.h"

#include <algorithm>

#include "tests/sim/world/chain.h"
#include "tests/sim/world/violation.h"

namespace fathom::sim {

Clients::Clients(const Scenario& scenario) : scenario_(scenario) {
  longest_of_least_ = INT32_MAX;
  for (const WorkerSpec& w : scenario.workers) {
    const int32_t longest = std::min(w.context_max, w.blocks * w.block_tokens);
    longest_ = std::max(longest_, longest);
    longest_of_least_ = std::min(longest_of_least_, longest);
  }
  for (const PlannedRequest& plan : scenario.requests) {
    clients_[plan.submit.id.value] = {.plan = &plan, .kv = kv_of(plan.submit.tokens)};
  }
}

void Clients::on_event(const FromRouter& event, Instant now) {
  std::visit([&](const auto& e) { on(e, now); }, event);
}

void Clients::on(const Tokens& event, Instant now) {
  Client& client = clients_.at(event.id.value);
  const Submit& submit = client.plan->submit;
  require(client.submitted && !client.over && !client.gone, "tokens of nobody", event.id.value);
  require(event.first == static_cast<int32_t>(client.received.size()),
          "a gap or repeat in a client's tokens", event.id.value);
  for (const TokenId token : event.tokens) {
    require(token == next_token(client.kv, submit.sampling.seed), "a wrong token", event.id.value);
    require(client.finish == Finish::none, "a token after the end", event.id.value);
    client.kv = kv_after(client.kv, token);
    client.received.push_back(token);
  }
  const bool asked = submit.sampling.logprobs >= 0;
  require(event.logprobs.size() == (asked ? event.tokens.size() : 0), "logprobs per token");
  for (const TokenLogprob& logprob : event.prompt_logprobs) {
    client.prompt_logprobs.push_back(logprob);
  }
  if (event.finish == Finish::none) return;
  client.finish = event.finish;
  check_end(client, now);
  client.over = true;
  client.over_at = now;
}

// The end that tokens announced must be the right one.
void Clients::check_end(Client& client, Instant) const {
  const Submit& submit = client.plan->submit;
  const auto& stops = submit.sampling.stop_tokens;
  const int32_t emitted = static_cast<int32_t>(client.received.size());
  const bool stopped = emitted > submit.sampling.min_tokens &&
                       std::find(stops.begin(), stops.end(), client.received.back()) != stops.end();
  if (client.finish == Finish::stop) {
    require(stopped, "stopped without a stop token", submit.id.value);
  } else {
    require(client.finish == Finish::length, "tokens ended in another way", submit.id.value);
    const bool full = emitted == submit.sampling.max_tokens;
    const bool context = submit.prompt_tokens + emitted >= longest_of_least_;
    require(full || context, "ended too early", submit.id.value);
  }
  if (submit.sampling.prompt_logprobs < 0) return;
  require(static_cast<int32_t>(client.prompt_logprobs.size()) == submit.prompt_tokens - 1,
          "one log-probability per prompt token", submit.id.value);
  uint64_t kv = kKvStart;
  for (int32_t i = 0; i < submit.prompt_tokens; ++i) {
    kv = kv_after(kv, submit.tokens[static_cast<size_t>(i)]);
    if (i == 0) continue;
    require(client.prompt_logprobs[static_cast<size_t>(i - 1)].logprob == prompt_logprob(kv),
            "a prompt log-probability of another position", submit.id.value);
  }
}

void Clients::on(const Finished& event, Instant now) {
  Client& client = clients_.at(event.id.value);
  require(client.submitted && !client.gone, "an end of nobody", event.id.value);
  if (event.error.code == Code::already_exists) {
    require(client.again, "refused as a duplicate, but it was none", event.id.value);
    client.again = false;
    return;
  }
  require(!client.over, "a request ended twice", event.id.value);
  client.finish = event.finish;
  client.code = event.error.code;
  client.over = true;
  client.over_at = now;
  if (event.finish == Finish::cancelled) {
    require(client.cancelled, "cancelled, but nobody asked", event.id.value);
  } else {
    require(event.finish == Finish::failed, "Finished with an end of tokens", event.id.value);
    check_failure(client, now);
  }
}

void Clients::check_failure(const Client& client, Instant now) const {
  const uint64_t id = client.plan->submit.id.value;
  const BatcherConfig defaults;
  const bool bounded = scenario_.batcher.queue_max != defaults.queue_max ||
                       scenario_.batcher.queue_tokens_max != defaults.queue_tokens_max ||
                       scenario_.batcher.tenant_queue_max != defaults.tenant_queue_max;
  switch (client.code) {
    case Code::deadline_exceeded:
      return require(client.deadline <= now, "out of time too early", id);
    case Code::resource_exhausted:
      return require(bounded && client.received.empty(), "refused by a queue with room", id);
    case Code::invalid_argument:
      return require(
          client.plan->submit.prompt_tokens >= longest_of_least_ && client.received.empty(),
          "refused as too long", id);
    case Code::internal:
      return require(scenario_.worker_faults.nan > 0, "failed without a reason", id);
    case Code::unavailable:
      return require(!scenario_.quiet(), "unavailable, but nothing failed", id);
    default:
      require(false, "failed with an unexpected code", id);
  }
}

Submit Clients::resubmission(const Client& client, Instant now) const {
  Submit submit = client.plan->submit;
  submit.tokens.insert(submit.tokens.end(), client.received.begin(), client.received.end());
  if (client.deadline != kNever) submit.time_left = client.deadline - now;
  return submit;
}

size_t Clients::unfinished() const {
  size_t count = 0;
  for (const auto& [id, client] : clients_) {
    count += client.submitted && !client.over && !client.gone;
  }
  return count;
}

}  // namespace fathom::sim
