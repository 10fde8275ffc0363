// What does a worker count? One struct of instruments per process, observed where the event
// happens. All names begin with fathom_worker_; docs/metrics.md lists them.
#pragma once

#include <array>

#include "process/metrics.h"
#include "worker/sequence.h"

namespace fathom {

struct WorkerMetrics {
  // `labels` tell the workers of one process apart.
  explicit WorkerMetrics(Metrics& metrics, const MetricLabels& labels = {});

  // Seconds of a step by what it held: prompt chunks only, decode rows only, or both.
  prometheus::Histogram& step_seconds_prefill;
  prometheus::Histogram& step_seconds_decode;
  prometheus::Histogram& step_seconds_mixed;
  prometheus::Gauge& step_running_seconds;  // of the step that has not returned yet
  prometheus::Histogram& step_rows;
  prometheus::Histogram& step_prefill_tokens;
  prometheus::Counter& steps_ahead;       // begun while the step before was in flight
  prometheus::Counter& prompt_tokens;     // prompt positions computed, recomputed ones included
  prometheus::Counter& generated_tokens;  // tokens drawn
  prometheus::Counter& draft_tokens;      // guesses put to the test
  prometheus::Counter& accepted_draft_tokens;  // those that were right
  std::array<prometheus::Gauge*, kPhases> sequences;
  prometheus::Gauge& kv_blocks;
  prometheus::Gauge& kv_blocks_free;
  prometheus::Gauge& kv_usage_ratio;
  prometheus::Gauge& kv_blocks_of_finished;  // taken from the pool, owned by no sequence: must be 0
  prometheus::Gauge& prefix_cache_blocks;
  prometheus::Counter& prefix_cache_queries;  // prompt tokens of sequences that could use the cache
  prometheus::Counter& prefix_cache_hits;     // of them, those it had
  prometheus::Counter& sent_bytes;
  prometheus::Counter& received_bytes;
  prometheus::Histogram& sent_seconds;      // copying one block out
  prometheus::Histogram& received_seconds;  // one sequence, from its Receive to its last block
  prometheus::Counter& transfer_failures;
  prometheus::Counter& failed_sequences;
  prometheus::Gauge& load_progress_ratio;
  prometheus::Gauge& draining;

 private:
  class Labelled;
  explicit WorkerMetrics(const Labelled& metrics);
};

}  // namespace fathom
