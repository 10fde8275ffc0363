// What does a gateway count? Requests and tokens as clients see them, under names of ours and, for
// dashboards and autoscalers made for it, under vLLM's. Bound once at start; observing is cheap and
// safe from any thread.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>

#include "contract/serve.h"
#include "process/metrics.h"

namespace fathom {

class GatewayMetrics {
 public:
  GatewayMetrics(Metrics& metrics, const std::string& model);

  void request(const std::string& route, int status);  // answered
  void cluster(const ClusterState& state);

  prometheus::Histogram& time_to_first_token;
  prometheus::Histogram& added;  // the gateway's own part of a time to first token
  prometheus::Histogram& inter_token;
  prometheus::Histogram& end_to_end;
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& generated_tokens;
  prometheus::Counter& cached_tokens;
  prometheus::Counter& reasoning_tokens;
  prometheus::Counter& unknown_fields;
  prometheus::Counter& router_lost;
  prometheus::Counter& resubmitted;
  prometheus::Counter& ended_stop;
  prometheus::Counter& ended_length;
  prometheus::Counter& ended_cancelled;
  prometheus::Counter& ended_failed;
  prometheus::Counter& ended_refused;
  prometheus::Gauge& pending;
  prometheus::Gauge& connections;
  prometheus::Gauge& router_connected;

  // vLLM's names.
  prometheus::Gauge& vllm_waiting;
  prometheus::Gauge& vllm_running;
  prometheus::Gauge& vllm_kv_usage;
  prometheus::Histogram& vllm_time_to_first_token;
  prometheus::Histogram& vllm_inter_token;
  prometheus::Histogram& vllm_end_to_end;
  prometheus::Counter& vllm_prompt_tokens;
  prometheus::Counter& vllm_prefix_queries;
  prometheus::Counter& vllm_prefix_hits;
  prometheus::Counter& vllm_generated_tokens;
  prometheus::Counter& vllm_success_stop;
  prometheus::Counter& vllm_success_length;
  prometheus::Counter& vllm_success_abort;

 private:
  Metrics& metrics_;
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, prometheus::Counter*> requests_;
};

}  // namespace fathom
