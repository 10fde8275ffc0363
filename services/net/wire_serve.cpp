#include "net/wire_serve.h"

#include "net/wire_sampling.h"

namespace fathom::wire {
namespace {

// A deadline a century away is none; adding more to an Instant would overflow.
constexpr int64_t kTimeLeftMaxNs = int64_t{3'155'760'000} * 1'000'000'000;

void fill(const Submit& from, v1::GatewayMessage& message) {
  v1::Submit& to = *message.mutable_submit();
  to.set_id(from.id.value);
  to.mutable_tokens()->Add(from.tokens.begin(), from.tokens.end());
  to.set_prompt_tokens(from.prompt_tokens);
  to_wire(from.sampling, *to.mutable_sampling());
  to.set_tenant(from.tenant);
  to.set_user(from.user);
  to.set_trace(from.trace);
  to.set_time_left_ns(std::max<int64_t>(from.time_left.ns, 0));
}

void fill(const Cancel& from, v1::GatewayMessage& message) {
  message.mutable_cancel()->set_id(from.id.value);
}

void fill(const ClusterState& from, v1::RouterEvent& event) {
  v1::ClusterState& to = *event.mutable_state();
  to.set_ready(from.ready);
  to.set_model(from.model);
  to.set_model_digest(from.model_digest);
  to.set_context_max(from.context_max);
  to.set_vocab(from.vocab);
  to.set_prefill_workers(from.prefill_workers);
  to.set_decode_workers(from.decode_workers);
  to.set_waiting(from.waiting);
  to.set_running(from.running);
  to.set_kv_usage(from.kv_usage);
}

void fill(const Tokens& from, v1::RouterEvent& event) {
  v1::Tokens& to = *event.mutable_tokens();
  to.set_id(from.id.value);
  to.set_first(from.first);
  to.mutable_tokens()->Add(from.tokens.begin(), from.tokens.end());
  logprobs_to_wire(from.logprobs, *to.mutable_logprobs());
  logprobs_to_wire(from.prompt_logprobs, *to.mutable_prompt_logprobs());
  to.set_cached(from.cached);
  to.set_finish(to_wire(from.finish));
}

void fill(const Finished& from, v1::RouterEvent& event) {
  v1::Finished& to = *event.mutable_finished();
  to.set_id(from.id.value);
  to.set_finish(to_wire(from.finish));
  to_wire(from.error, *to.mutable_error());
  to.set_retry_after_ns(from.retry_after.ns);
}

Submit read(const v1::Submit& from, Fields& fields) {
  Submit to;
  to.id = RequestId{from.id()};
  to.tokens = fields.tokens(from.tokens(), "tokens");
  to.prompt_tokens = from.prompt_tokens();
  fields.require(to.prompt_tokens >= 0 && static_cast<size_t>(to.prompt_tokens) <= to.tokens.size(),
                 "prompt_tokens", "must be between 0 and the number of tokens");
  to.sampling = from_wire(from.sampling(), fields);
  to.tenant = from.tenant();
  to.user = from.user();
  to.trace = from.trace();
  const int64_t left_ns = fields.not_negative(from.time_left_ns(), "time_left_ns");
  to.time_left = {left_ns > kTimeLeftMaxNs ? INT64_MAX : left_ns};
  return to;
}

ClusterState read(const v1::ClusterState& from, Fields& fields) {
  ClusterState to;
  to.ready = from.ready();
  to.model = from.model();
  to.model_digest = from.model_digest();
  to.context_max = fields.not_negative(from.context_max(), "context_max");
  to.vocab = fields.not_negative(from.vocab(), "vocab");
  to.prefill_workers = fields.not_negative(from.prefill_workers(), "prefill_workers");
  to.decode_workers = fields.not_negative(from.decode_workers(), "decode_workers");
  to.waiting = fields.not_negative(from.waiting(), "waiting");
  to.running = fields.not_negative(from.running(), "running");
  to.kv_usage = from.kv_usage();
  fields.require(to.kv_usage >= 0 && to.kv_usage <= 1, "kv_usage", "must be in [0, 1]");
  return to;
}

Tokens read(const v1::Tokens& from, Fields& fields) {
  Tokens to;
  to.id = RequestId{from.id()};
  to.first = fields.not_negative(from.first(), "first");
  to.tokens = fields.tokens(from.tokens(), "tokens");
  const bool counted = from.logprobs_size() == 0 || from.logprobs_size() == from.tokens_size();
  fields.require(counted, "logprobs", "must be none or one per token");
  to.logprobs = logprobs_from_wire(from.logprobs(), fields);
  to.prompt_logprobs = logprobs_from_wire(from.prompt_logprobs(), fields);
  to.cached = fields.not_negative(from.cached(), "cached");
  to.finish = from_wire(from.finish(), fields);
  return to;
}

Finished read(const v1::Finished& from, Fields& fields) {
  Finished to;
  to.id = RequestId{from.id()};
  to.finish = from_wire(from.finish(), fields);
  to.error = from_wire(from.error(), fields);
  to.retry_after = {fields.not_negative(from.retry_after_ns(), "retry_after_ns")};
  return to;
}

}  // namespace

void to_wire(std::span<const ToRouter> from, v1::ToRouter& to) {
  for (const ToRouter& message : from)
    std::visit([&](const auto& value) { fill(value, *to.add_messages()); }, message);
}

Result<std::vector<ToRouter>> from_wire(const v1::ToRouter& from) {
  std::vector<ToRouter> to;
  to.reserve(static_cast<size_t>(from.messages_size()));
  for (const v1::GatewayMessage& message : from.messages()) {
    Fields fields;
    const char* name = "";
    switch (message.message_case()) {
      case v1::GatewayMessage::kSubmit:
        name = "submit.";
        to.push_back(read(message.submit(), fields));
        break;
      case v1::GatewayMessage::kCancel:
        to.push_back(Cancel{RequestId{message.cancel().id()}});
        break;
      case v1::GatewayMessage::MESSAGE_NOT_SET:
        fields.require(false, "message", "unknown kind of message");
        break;
    }
    if (!fields.ok()) return fields.error(name);
  }
  return to;
}

void to_wire(std::span<const FromRouter> from, v1::FromRouter& to) {
  to.mutable_events()->Reserve(static_cast<int>(from.size()));
  for (const FromRouter& event : from)
    std::visit([&](const auto& value) { fill(value, *to.add_events()); }, event);
}

Result<std::vector<FromRouter>> from_wire(const v1::FromRouter& from) {
  std::vector<FromRouter> to;
  to.reserve(static_cast<size_t>(from.events_size()));
  for (const v1::RouterEvent& event : from.events()) {
    Fields fields;
    const char* name = "";
    switch (event.event_case()) {
      case v1::RouterEvent::kState:
        name = "state.", to.push_back(read(event.state(), fields));
        break;
      case v1::RouterEvent::kTokens:
        name = "tokens.", to.push_back(read(event.tokens(), fields));
        break;
      case v1::RouterEvent::kFinished:
        name = "finished.", to.push_back(read(event.finished(), fields));
        break;
      case v1::RouterEvent::EVENT_NOT_SET:
        fields.require(false, "event", "unknown kind of event");
        break;
    }
    if (!fields.ok()) return fields.error(name);
  }
  return to;
}

}  // namespace fathom::wire
