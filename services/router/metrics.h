// What does a router count? One struct of instruments per process. Requests are observed when they
// end, steps when they are reported, levels after each tick. All names begin with fathom_router_,
// plus the few vllm: ones that autoscalers and dashboards of others ask for. docs/metrics.md lists
// them.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>

#include "batching/batcher.h"
#include "contract/watch.h"
#include "process/metrics.h"

namespace fathom {

using OutcomeCounters = std::array<prometheus::Counter*, kOutcomeNames.size()>;

// Of one worker address; kept while the process lives, its levels zeroed while the worker is away.
struct WorkerSeries {
  WorkerSeries(Metrics& metrics, const std::string& address);
  std::array<prometheus::Histogram*, 3> step_seconds;  // prefill, decode, mixed
  prometheus::Histogram& step_rows;
  prometheus::Histogram& step_prefill_tokens;
  prometheus::Gauge& free_blocks;
  prometheus::Gauge& up;
  prometheus::Counter& stalls;
};

// The names other systems know, once the model's name is.
struct VllmSeries {
  VllmSeries(Metrics& metrics, const std::string& model);
  prometheus::Gauge& running;
  prometheus::Gauge& waiting;
  prometheus::Gauge& kv_usage;
  prometheus::Counter& preemptions;
};

class RouterMetrics {
 public:
  explicit RouterMetrics(Metrics& metrics);

  void ended(const RequestTrace& trace);
  void step(const std::string& address, const Report& report);
  void worker_up(const std::string& address, const Welcome& welcome);
  void worker_down(const std::string& address);
  void worker_stalled(const std::string& address) { series(address).stalls.Increment(); }
  // After a tick.
  void levels(const BatcherStats& stats, const ClusterState& cluster);

  prometheus::Counter& generated_tokens;  // sent to gateways
  prometheus::Histogram& tick_seconds;
  prometheus::Counter& overflows;  // news refused because the brain was behind
  prometheus::Gauge& gateways;

 private:
  WorkerSeries& series(const std::string& address);

  Metrics& metrics_;
  OutcomeCounters outcomes_;
  prometheus::Histogram &queue_seconds_, &first_token_seconds_, &request_seconds_;
  prometheus::Counter &prompt_tokens_, &cached_tokens_;
  prometheus::Gauge &running_, &waiting_, &moving_, &leases_;
  prometheus::Gauge &blocks_reserved_, &blocks_capacity_, &blocks_of_finished_;
  prometheus::Counter &preemptions_, &recoveries_, &transfer_failures_;
  prometheus::Gauge &prefill_workers_, &decode_workers_;
  std::map<std::string, std::unique_ptr<WorkerSeries>> workers_;  // by address
  std::unique_ptr<VllmSeries> vllm_;
  BatcherStats last_;
};

}  // namespace fathom
