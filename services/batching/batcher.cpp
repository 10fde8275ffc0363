// The doors of the Batcher: each call notes the time it brings and hands over to the file that
// knows.
#include "batching/batcher.h"

#include <algorithm>

#include "batching/state.h"

namespace fathom {

Batcher::State::State(const BatcherConfig& c)
    : config(c),
      table(c.epoch),
      queue({.requests_max = c.queue_max,
             .tokens_max = c.queue_tokens_max,
             .tenant_requests_max = c.tenant_queue_max}) {
  CHECK(c.lease_tokens >= 1, "lease_tokens must be positive");
}

Batcher::Batcher(const BatcherConfig& config) : state_(std::make_unique<State>(config)) {}
Batcher::~Batcher() = default;

Status Batcher::worker_up(WorkerId worker, const Welcome& welcome) {
  return state_->worker_up(worker, welcome);
}

void Batcher::worker_down(WorkerId worker) { state_->worker_down(worker); }

void Batcher::report(WorkerId worker, const Report& report, Instant now) {
  state_->now = std::max(state_->now, now);
  if (WorkerView* view = state_->worker(worker)) {
    state_->heard(*view, report);
    state_->report(*view, report);
  }
}

void Batcher::submit(GatewayId gateway, Submit submit, Instant now) {
  state_->now = std::max(state_->now, now);
  state_->submit(gateway, std::move(submit));
}

void Batcher::cancel(GatewayId gateway, RequestId id) {
  if (Request* request = state_->table.find(RequestKey{gateway, id})) state_->cancel(*request);
}

void Batcher::gateway_down(GatewayId gateway) {
  for (Request* request : state_->table.of_gateway(gateway)) {
    state_->end(*request, Finish::cancelled, Code::cancelled);
  }
  std::erase_if(state_->events, [&](const auto& event) { return event.first == gateway; });
}

void Batcher::drain() {
  State& s = *state_;
  s.draining = true;
  std::vector<Request*> waiting;
  for (const ByArrival* requests : {&s.queue.fresh(), &s.queue.parked()}) {
    for (const auto& [arrival, request] : *requests) {
      if (!request->resumed) waiting.push_back(request);
    }
  }
  for (Request* request : waiting) {
    s.fail(*request, {Code::unavailable, "the router is shutting down", ""});
  }
}

Decisions Batcher::tick(Instant now) {
  State& s = *state_;
  s.now = std::max(s.now, now);
  s.expire();
  s.give_up_silent();
  s.renew();
  s.admit();
  Decisions decisions;
  for (WorkerView* worker : s.live) {
    if (!worker->edits.empty()) {
      worker->look_again = true;
      decisions.edits.emplace_back(worker->id, std::exchange(worker->edits, {}));
    }
  }
  decisions.stalled = std::exchange(s.stalled, {});
  decisions.wake = s.watch_silence();
  decisions.events = std::exchange(s.events, {});
  s.events.reserve(decisions.events.size());
  if (!s.deadlines.empty())
    decisions.wake = std::min(decisions.wake, std::get<0>(*s.deadlines.begin()));
  return decisions;
}

ClusterState Batcher::cluster() const { return state_->cluster(); }

BatcherStats Batcher::stats() const {
  const State& s = *state_;
  BatcherStats stats = s.counters;
  stats.waiting = s.queue.size();
  stats.running = static_cast<int32_t>(s.table.size()) - stats.waiting;
  for (const WorkerView* worker : s.live) {
    stats.blocks_reserved += worker->blocks.reserved();
    stats.blocks_capacity += worker->blocks.capacity();
  }
  return stats;
}

const BatcherLatencies& Batcher::latencies() const { return state_->latencies; }

std::vector<WorkerLoad> Batcher::loads() const {
  std::vector<WorkerLoad> loads;
  for (const WorkerView* worker : state_->live) {
    loads.push_back({.worker = worker->id,
                     .sequences = worker->rows(),
                     .rows_max = worker->rows_max,
                     .blocks_reserved = worker->blocks.reserved(),
                     .uncomputed = worker->uncomputed,
                     .draining = worker->draining});
  }
  return loads;
}

std::vector<RequestTrace> Batcher::take_traces() { return std::exchange(state_->traces, {}); }
std::vector<Incident> Batcher::take_incidents() { return std::exchange(state_->incidents, {}); }
bool Batcher::idle() const { return state_->table.size() == 0; }
void Batcher::check_integrity() const { state_->check_integrity(); }

}  // namespace fathom
