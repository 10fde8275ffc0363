#include "gateway/metrics.h"

namespace fathom {
namespace {

constexpr const char* kEnded = "fathom_gateway_choices_ended_total";
constexpr const char* kEndedHelp = "Choices by how they ended.";
constexpr const char* kSuccess = "vllm:request_success_total";
constexpr const char* kSuccessHelp =
    "Choices that ended, by reason (name kept for vLLM dashboards).";

// From 10 us to about 0.1 s, each 1.25 times the one before: quantiles are right within a tenth.
prometheus::Histogram::BucketBoundaries added_buckets() {
  prometheus::Histogram::BucketBoundaries out;
  for (double bound = 10e-6; bound < 0.1; bound *= 1.25) out.push_back(bound);
  return out;
}

}  // namespace

GatewayMetrics::GatewayMetrics(Metrics& m, const std::string& model)
    : time_to_first_token(m.histogram("fathom_gateway_time_to_first_token_seconds",
                                      "From the whole request to its first token.",
                                      latency_buckets())),
      added(m.histogram("fathom_gateway_added_seconds",
                        "Of a time to first token, what passed inside the gateway.",
                        added_buckets())),
      inter_token(m.histogram("fathom_gateway_inter_token_seconds",
                              "Between deliveries of a choice, per token.", latency_buckets())),
      end_to_end(m.histogram("fathom_gateway_request_seconds",
                             "From the whole request to the end of its answer.",
                             latency_buckets())),
      prompt_tokens(
          m.counter("fathom_gateway_prompt_tokens_total", "Prompt tokens, once per prompt.")),
      generated_tokens(m.counter("fathom_gateway_generated_tokens_total", "Tokens delivered.")),
      cached_tokens(
          m.counter("fathom_gateway_cached_tokens_total", "Prompt tokens found in a cache.")),
      reasoning_tokens(m.counter("fathom_gateway_reasoning_tokens_total", "Tokens of reasoning.")),
      unknown_fields(
          m.counter("fathom_gateway_unknown_fields_total", "Request fields nobody knows.")),
      router_lost(m.counter("fathom_gateway_router_lost_total", "Breaks of the router's stream.")),
      resubmitted(
          m.counter("fathom_gateway_resubmitted_total", "Choices submitted again after a break.")),
      ended_stop(m.counter(kEnded, kEndedHelp, {{"outcome", "stop"}})),
      ended_length(m.counter(kEnded, kEndedHelp, {{"outcome", "length"}})),
      ended_cancelled(m.counter(kEnded, kEndedHelp, {{"outcome", "cancelled"}})),
      ended_failed(m.counter(kEnded, kEndedHelp, {{"outcome", "failed"}})),
      ended_refused(m.counter(kEnded, kEndedHelp, {{"outcome", "refused"}})),
      pending(m.gauge("fathom_gateway_pending", "Choices in flight.")),
      connections(m.gauge("fathom_gateway_connections", "Open client connections.")),
      router_connected(
          m.gauge("fathom_gateway_router_connected", "1 while the router's stream is up.")),
      vllm_waiting(m.gauge("vllm:num_requests_waiting", "Requests queued in the router.",
                           {{"model_name", model}})),
      vllm_running(
          m.gauge("vllm:num_requests_running", "Requests running.", {{"model_name", model}})),
      vllm_kv_usage(m.gauge("vllm:kv_cache_usage_perc", "KV blocks in use, 0 to 1.",
                            {{"model_name", model}})),
      vllm_time_to_first_token(m.histogram("vllm:time_to_first_token_seconds",
                                           "Time to first token.", latency_buckets(),
                                           {{"model_name", model}})),
      vllm_inter_token(m.histogram("vllm:inter_token_latency_seconds",
                                   "Between tokens of a choice.", latency_buckets(),
                                   {{"model_name", model}})),
      vllm_end_to_end(m.histogram("vllm:e2e_request_latency_seconds", "Whole requests.",
                                  latency_buckets(), {{"model_name", model}})),
      vllm_prompt_tokens(
          m.counter("vllm:prompt_tokens_total", "Prompt tokens.", {{"model_name", model}})),
      vllm_prefix_queries(m.counter("vllm:prefix_cache_queries_total",
                                    "Prompt tokens looked up in prefix caches.",
                                    {{"model_name", model}})),
      vllm_prefix_hits(m.counter("vllm:prefix_cache_hits_total",
                                 "Prompt tokens found in prefix caches.", {{"model_name", model}})),
      vllm_generated_tokens(
          m.counter("vllm:generation_tokens_total", "Tokens generated.", {{"model_name", model}})),
      vllm_success_stop(
          m.counter(kSuccess, kSuccessHelp, {{"model_name", model}, {"finished_reason", "stop"}})),
      vllm_success_length(m.counter(kSuccess, kSuccessHelp,
                                    {{"model_name", model}, {"finished_reason", "length"}})),
      vllm_success_abort(
          m.counter(kSuccess, kSuccessHelp, {{"model_name", model}, {"finished_reason", "abort"}})),
      metrics_(m) {}

void GatewayMetrics::request(const std::string& route, int status) {
  const std::lock_guard lock(mutex_);
  auto& counter = requests_[{route, status}];
  if (counter == nullptr)
    counter =
        &metrics_.counter("fathom_gateway_requests_total", "Answered requests by route and status.",
                          {{"route", route}, {"status", std::to_string(status)}});
  counter->Increment();
}

void GatewayMetrics::cluster(const ClusterState& state) {
  vllm_waiting.Set(state.waiting);
  vllm_running.Set(state.running);
  vllm_kv_usage.Set(state.kv_usage);
}

}  // namespace fathom
