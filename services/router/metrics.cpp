#include "router/metrics.h"

#include "router/outcome.h"

namespace fathom {
namespace {

const std::string kPrefix = "fathom_router_";

prometheus::Gauge& gauge(Metrics& metrics, const std::string& name, const std::string& help) {
  return metrics.gauge(kPrefix + name, help);
}
prometheus::Counter& counter(Metrics& metrics, const std::string& name, const std::string& help) {
  return metrics.counter(kPrefix + name, help);
}
prometheus::Histogram& seconds(Metrics& metrics, const std::string& name, const std::string& help) {
  return metrics.histogram(kPrefix + name, help, latency_buckets());
}
prometheus::Gauge& workers(Metrics& metrics, const std::string& role) {
  return metrics.gauge(kPrefix + "workers", "Workers connected, by what they can do",
                       {{"role", role}});
}

OutcomeCounters outcome_counters(Metrics& metrics) {
  OutcomeCounters out{};
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = &metrics.counter(kPrefix + "requests_total", "Requests that ended, by outcome",
                              {{"outcome", std::string(kOutcomeNames[i])}});
  return out;
}

void add_since(prometheus::Counter& counter, uint64_t before, uint64_t now) {
  if (now > before) counter.Increment(static_cast<double>(now - before));
}

}  // namespace

WorkerSeries::WorkerSeries(Metrics& metrics, const std::string& address)
    : step_rows(metrics.histogram(kPrefix + "worker_step_rows", "Sequences of one worker step",
                                  size_buckets(), {{"worker", address}})),
      step_prefill_tokens(metrics.histogram(kPrefix + "worker_step_prefill_tokens",
                                            "Prompt tokens of one worker step that had any",
                                            size_buckets(), {{"worker", address}})),
      free_blocks(metrics.gauge(kPrefix + "worker_free_blocks",
                                "KV blocks no sequence holds, as the worker reports",
                                {{"worker", address}})),
      up(metrics.gauge(kPrefix + "worker_up", "1 while the worker is connected and accepted",
                       {{"worker", address}})),
      stalls(metrics.counter(kPrefix + "worker_stalls_total",
                             "Times the worker was given up because it reported no step",
                             {{"worker", address}})) {
  constexpr std::array<const char*, 3> kPhaseNames = {"prefill", "decode", "mixed"};
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    step_seconds[i] = &metrics.histogram(
        kPrefix + "worker_step_seconds", "Duration of one worker step, by what it held",
        latency_buckets(), {{"worker", address}, {"phase", kPhaseNames[i]}});
}

VllmSeries::VllmSeries(Metrics& metrics, const std::string& model)
    : running(
          metrics.gauge("vllm:num_requests_running", "Requests that run", {{"model_name", model}})),
      waiting(metrics.gauge("vllm:num_requests_waiting", "Requests that wait",
                            {{"model_name", model}})),
      kv_usage(metrics.gauge("vllm:kv_cache_usage_perc", "KV blocks reserved, 1 is all",
                             {{"model_name", model}})),
      preemptions(metrics.counter("vllm:num_preemptions_total",
                                  "Sequences that gave way for lack of KV blocks",
                                  {{"model_name", model}})) {}

RouterMetrics::RouterMetrics(Metrics& metrics)
    : generated_tokens(counter(metrics, "generated_tokens_total", "Tokens sent to gateways")),
      tick_seconds(seconds(metrics, "tick_seconds", "Duration of one decision of the router")),
      overflows(
          counter(metrics, "overflows_total", "Messages refused because the router was behind")),
      gateways(gauge(metrics, "gateways", "Gateways connected")),
      metrics_(metrics),
      outcomes_(outcome_counters(metrics)),
      queue_seconds_(seconds(metrics, "queue_seconds", "From arrival to admission")),
      first_token_seconds_(
          seconds(metrics, "time_to_first_token_seconds", "From arrival to the first token")),
      request_seconds_(seconds(metrics, "request_seconds", "From arrival to the end")),
      prompt_tokens_(
          counter(metrics, "prompt_tokens_total", "Prompt tokens of requests that were admitted")),
      cached_tokens_(
          counter(metrics, "cached_tokens_total", "Prompt tokens that needed no computing")),
      running_(gauge(metrics, "requests_running", "Requests admitted and not ended")),
      waiting_(gauge(metrics, "requests_waiting", "Requests in the queue")),
      moving_(gauge(metrics, "requests_moving", "Requests whose KV is on its way")),
      leases_(gauge(metrics, "leases", "Sequences that hold a lease")),
      blocks_reserved_(gauge(metrics, "blocks_reserved", "KV blocks reserved on all workers")),
      blocks_capacity_(gauge(metrics, "blocks_capacity", "KV blocks of all workers")),
      blocks_of_finished_(gauge(metrics, "blocks_of_finished",
                                "KV blocks of requests that ended; anything but 0 is a leak")),
      preemptions_(
          counter(metrics, "preemptions_total", "Sequences that gave way for lack of blocks")),
      recoveries_(counter(metrics, "recoveries_total", "Placements made again after a failure")),
      transfer_failures_(counter(metrics, "transfer_failures_total", "KV transfers that failed")),
      prefill_workers_(workers(metrics, "prefill")),
      decode_workers_(workers(metrics, "decode")) {}

void RouterMetrics::ended(const RequestTrace& trace) {
  outcomes_[static_cast<size_t>(outcome_of(trace))]->Increment();
  if (trace.admitted != kNever) {
    queue_seconds_.Observe((trace.admitted - trace.arrived).to_seconds());
    prompt_tokens_.Increment(trace.prompt_tokens);
    cached_tokens_.Increment(trace.cached);
  }
  if (trace.first_token != kNever)
    first_token_seconds_.Observe((trace.first_token - trace.arrived).to_seconds());
  if (trace.ended != kNever) request_seconds_.Observe((trace.ended - trace.arrived).to_seconds());
}

WorkerSeries& RouterMetrics::series(const std::string& address) {
  auto& series = workers_[address];
  if (!series) series = std::make_unique<WorkerSeries>(metrics_, address);
  return *series;
}

void RouterMetrics::step(const std::string& address, const Report& report) {
  WorkerSeries& worker = series(address);
  worker.free_blocks.Set(report.free_blocks);
  if (report.step_us == 0) return;
  const size_t phase = report.prefill_tokens == 0 ? 1 : report.decode_rows == 0 ? 0 : 2;
  worker.step_seconds[phase]->Observe(static_cast<double>(report.step_us) * 1e-6);
  worker.step_rows.Observe(static_cast<double>(report.rows.size()));
  if (report.prefill_tokens > 0) worker.step_prefill_tokens.Observe(report.prefill_tokens);
}

void RouterMetrics::worker_up(const std::string& address, const Welcome& welcome) {
  series(address).up.Set(1);
  if (vllm_) return;
  vllm_ = std::make_unique<VllmSeries>(metrics_, welcome.model);
  metrics_
      .gauge("vllm:cache_config_info", "The KV cache of one worker, as labels",
             {{"model_name", welcome.model},
              {"block_size", std::to_string(welcome.kv.block_tokens)},
              {"num_gpu_blocks", std::to_string(welcome.blocks)}})
      .Set(1);
}

void RouterMetrics::worker_down(const std::string& address) {
  series(address).up.Set(0);
  series(address).free_blocks.Set(0);
}

void RouterMetrics::levels(const BatcherStats& stats, const ClusterState& cluster) {
  running_.Set(stats.running);
  waiting_.Set(stats.waiting);
  moving_.Set(stats.moving);
  leases_.Set(static_cast<double>(stats.leases));
  blocks_reserved_.Set(static_cast<double>(stats.blocks_reserved));
  blocks_capacity_.Set(static_cast<double>(stats.blocks_capacity));
  blocks_of_finished_.Set(static_cast<double>(stats.blocks_of_finished));
  add_since(*outcomes_[static_cast<size_t>(Outcome::refused)], last_.refused, stats.refused);
  add_since(preemptions_, last_.preemptions, stats.preemptions);
  add_since(recoveries_, last_.recoveries, stats.recoveries);
  add_since(transfer_failures_, last_.transfer_failures, stats.transfer_failures);
  prefill_workers_.Set(cluster.prefill_workers);
  decode_workers_.Set(cluster.decode_workers);
  if (vllm_) {
    vllm_->running.Set(stats.running);
    vllm_->waiting.Set(stats.waiting);
    vllm_->kv_usage.Set(cluster.kv_usage);
    add_since(vllm_->preemptions, last_.preemptions, stats.preemptions);
  }
  last_ = stats;
}

}  // namespace fathom
