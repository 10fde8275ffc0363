// Who runs where, with which memory, and until when? The router's brain: continuous batching as a
// pure state machine. It does no I/O, starts no threads and reads no clock; the same calls give the
// same decisions. Invariants, checked after every call in tests: the blocks reserved on a worker
// never exceed its capacity; emitted tokens of a request have no gap and no repeat; every accepted
// request ends exactly once; a finished request owns no block anywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/latency_histogram.h"
#include "base/result.h"
#include "contract/drive.h"
#include "contract/serve.h"

namespace fathom {

struct BatcherConfig {
  int32_t queue_max = 1024;  // waiting requests; one more is refused with RESOURCE_EXHAUSTED
  int32_t queue_tokens_max = 8'000'000;
  int32_t tenant_queue_max = 1024;  // of one tenant
  int32_t lease_tokens = 64;        // granted at a time: one renewal per ~64 tokens
  int32_t step_token_budget =
      512;  // most tokens of one worker step; decode rows first, then prompt chunks
  int32_t recoveries_max =
      16;  // placements of one request lost to failures before it fails UNAVAILABLE
  Duration retry_after = Duration::seconds(1);  // told to refused clients
  // A worker that owes a step and reports nothing for this and ten times its longest step is given
  // up; 0: never.
  Duration stall{0};
  uint64_t epoch = 0;  // goes into Hello and the sequence ids
};

// A request of one gateway, globally.
struct RequestKey {
  GatewayId gateway;
  RequestId id;
  auto operator<=>(const RequestKey&) const = default;
};

// A worker that was given up: it counts as down, and its stream is to be closed.
struct StalledWorker {
  WorkerId worker;
  Duration silent;
};

struct Decisions {
  std::vector<std::pair<WorkerId, Edits>> edits;
  std::vector<std::pair<GatewayId, FromRouter>> events;  // Tokens and Finished, in order
  std::vector<StalledWorker> stalled;
  Instant wake = kNever;  // call tick again then even if nothing happens (deadlines, silence)
};

// Numbers for metrics, as of the last call.
struct BatcherStats {
  int32_t waiting = 0;
  int32_t running = 0;     // admitted and not ended
  int32_t moving = 0;      // among them: waiting for their KV at the decode home
  int32_t prefilling = 0;  // among the running: their placement has emitted nothing yet
  int32_t decoding = 0;    // it has, and the home holds the KV
  int64_t leases = 0;
  int64_t blocks_reserved = 0;
  int64_t blocks_capacity = 0;
  int64_t blocks_of_finished = 0;  // must be 0
  uint64_t preemptions = 0;        // gave way for lack of blocks
  uint64_t recoveries = 0;         // placed again after a failure
  uint64_t transfer_failures = 0;
  uint64_t arrived = 0;   // accepted, to wait or to run
  uint64_t admitted = 0;  // placed for the first time
  uint64_t refused = 0;   // at the door, for want of room
  uint64_t moves = 0;     // KV that arrived at its decode home
  uint64_t stalled = 0;   // workers given up for their silence
};

// Since the beginning, of all requests; a stretch of time is the difference of two moments.
struct BatcherLatencies {
  LatencyHistogram queue;        // from arrival to admission
  LatencyHistogram first_token;  // from arrival
  LatencyHistogram inter_token;  // between two reports of a request, per token
  LatencyHistogram request;      // from arrival to the end
};

// What one worker was promised and asked, as of the last call.
struct WorkerLoad {
  WorkerId worker;
  int32_t sequences = 0;
  int32_t rows_max = 0;
  int32_t blocks_reserved = 0;
  int64_t uncomputed = 0;  // prompt tokens it was told to compute and has not
  bool draining = false;
};

// What befell one sequence, for people who watch.
struct Incident {
  enum class Kind : uint8_t {
    moved,            // its KV arrived at `worker`, from `peer`
    transfer_failed,  // it did not arrive at `worker`, from `peer`
    recovered,        // `worker` lost it; it is placed again
    gave_way          // on `worker`, for lack of blocks; it is placed again
  };
  Kind kind = Kind::moved;
  WorkerId worker;
  WorkerId peer;
};

// What happened to a request, for the router's histograms. Emitted by tick in order.
struct RequestTrace {
  RequestKey key;
  Instant arrived, admitted, first_token, ended;  // kNever where it never came to that
  int32_t prompt_tokens = 0;
  int32_t emitted = 0;
  int32_t cached = 0;
  Finish finish = Finish::none;
  Code code = Code::ok;
};

class Batcher {
 public:
  explicit Batcher(const BatcherConfig& config);
  ~Batcher();

  // A worker's stream is open and its Welcome has come. Refused, naming the field, when it can not
  // serve beside the others (model_digest, kv layout, vocab).
  Status worker_up(WorkerId worker, const Welcome& welcome);
  void worker_down(WorkerId worker);
  void report(WorkerId worker, const Report& report, Instant now);

  void submit(GatewayId gateway, Submit submit, Instant now);
  void cancel(GatewayId gateway, RequestId id);
  void gateway_down(GatewayId gateway);  // all its requests are cancelled, without events
  // Stop admitting: waiting and new requests are refused with UNAVAILABLE, what runs goes on.
  void drain();

  Decisions tick(Instant now);

  ClusterState cluster() const;
  BatcherStats stats() const;
  const BatcherLatencies& latencies() const;
  std::vector<WorkerLoad> loads() const;    // in order of id
  std::vector<RequestTrace> take_traces();  // of requests that ended since the last call
  std::vector<Incident> take_incidents();   // since the last call
  bool idle() const;                        // no request waits or runs
  // Walks everything and compares it with the account above; CHECKs on a difference. For tests and
  // idle time.
  void check_integrity() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom
