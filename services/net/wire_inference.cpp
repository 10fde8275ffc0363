#include "net/wire_inference.h"

#include "net/wire_fields.h"

namespace fathom::wire {
namespace {

rpc::SamplingOptions read(const v1::SamplingOptions& from, Fields& fields) {
  rpc::SamplingOptions to;
  if (from.has_temperature()) to.temperature = from.temperature();
  if (from.has_top_p()) to.top_p = from.top_p();
  if (from.has_top_k()) to.top_k = from.top_k();
  if (from.has_min_p()) to.min_p = from.min_p();
  if (from.has_repetition_penalty()) to.repetition_penalty = from.repetition_penalty();
  if (from.has_frequency_penalty()) to.frequency_penalty = from.frequency_penalty();
  if (from.has_presence_penalty()) to.presence_penalty = from.presence_penalty();
  for (const auto& [token, bias] : from.logit_bias())
    to.logit_bias.emplace(fields.not_negative(token, "sampling.logit_bias"), bias);
  if (from.has_seed()) to.seed = from.seed();
  to.stop.assign(from.stop().begin(), from.stop().end());
  to.stop_token_ids = fields.tokens(from.stop_token_ids(), "sampling.stop_token_ids");
  if (from.has_min_tokens()) to.min_tokens = from.min_tokens();
  if (from.has_max_tokens()) to.max_tokens = from.max_tokens();
  if (from.has_ignore_eos()) to.ignore_eos = from.ignore_eos();
  return to;
}

template <class Repeated>
std::vector<rpc::ChatMessage> messages_of(const Repeated& from) {
  std::vector<rpc::ChatMessage> to;
  to.reserve(static_cast<size_t>(from.size()));
  for (const v1::ChatMessage& message : from) to.push_back({message.role(), message.content()});
  return to;
}

// What both kinds of event share.
template <class Event, class Message>
void fill(const Event& from, Message& to) {
  to.set_id(from.id);
  to.mutable_token_ids()->Add(from.token_ids.begin(), from.token_ids.end());
  to.set_finish_reason(from.finish_reason);
  if (!from.usage) return;
  v1::Usage& usage = *to.mutable_usage();
  usage.set_prompt_tokens(from.usage->prompt_tokens);
  usage.set_completion_tokens(from.usage->completion_tokens);
  usage.set_cached_tokens(from.usage->cached_tokens);
  usage.set_reasoning_tokens(from.usage->reasoning_tokens);
}

}  // namespace

Result<rpc::ChatRequest> from_wire(const v1::ChatRequest& from) {
  Fields fields;
  rpc::ChatRequest to{from.model(), messages_of(from.messages()), read(from.sampling(), fields)};
  if (!fields.ok()) return fields.error();
  return to;
}

Result<rpc::CompleteRequest> from_wire(const v1::CompleteRequest& from) {
  Fields fields;
  rpc::CompleteRequest to;
  to.model = from.model();
  fields.require(from.prompt_case() != v1::CompleteRequest::PROMPT_NOT_SET, "prompt",
                 "needs text or token_ids");
  if (from.has_text())
    to.prompt = from.text();
  else
    to.prompt = fields.tokens(from.token_ids().ids(), "token_ids");
  to.sampling = read(from.sampling(), fields);
  if (!fields.ok()) return fields.error();
  return to;
}

Result<rpc::TokenizeRequest> from_wire(const v1::TokenizeRequest& from) {
  rpc::TokenizeRequest to;
  to.model = from.model();
  switch (from.input_case()) {
    case v1::TokenizeRequest::kText:
      to.input = from.text();
      return to;
    case v1::TokenizeRequest::kMessages:
      to.input = messages_of(from.messages().messages());
      return to;
    case v1::TokenizeRequest::INPUT_NOT_SET:
      break;
  }
  return invalid("needs text or messages", "input");
}

void to_wire(const rpc::ChatEvent& from, v1::ChatEvent& to) {
  fill(from, to);
  to.set_reasoning_content(from.reasoning_content);
  to.set_content(from.content);
}

void to_wire(const rpc::CompleteEvent& from, v1::CompleteEvent& to) {
  fill(from, to);
  to.set_text(from.text);
}

void to_wire(const rpc::TokenizeResponse& from, v1::TokenizeResponse& to) {
  to.mutable_token_ids()->Add(from.token_ids.begin(), from.token_ids.end());
  to.set_context_max(from.context_max);
}

void to_wire(const std::vector<rpc::Model>& from, v1::ListModelsResponse& to) {
  for (const rpc::Model& model : from) {
    v1::Model& entry = *to.add_models();
    entry.set_id(model.id);
    entry.set_created(model.created);
    entry.set_context_max(model.context_max);
  }
}

}  // namespace fathom::wire
