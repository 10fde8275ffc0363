// Who is there, and do they fit together? All workers serve the same weights with the same KV
// layout, or a sequence could not go on elsewhere; one that differs is refused by the name of the
// field.
#include <algorithm>

#include "batching/state.h"

namespace fathom {
namespace {

Error refused(std::string field, std::string why) {
  return {Code::failed_precondition, std::move(why), std::move(field)};
}

Status usable(const Welcome& w) {
  const auto positive = [](int64_t value) { return value > 0; };
  if (w.protocol != kProtocolVersion) return refused("protocol", "another protocol version");
  if (!positive(w.blocks)) return refused("blocks", "a worker needs at least one block");
  if (!positive(w.rows_max)) return refused("rows_max", "a worker must hold at least one sequence");
  if (!positive(w.context_max)) return refused("context_max", "a worker needs a context");
  if (!positive(w.kv.block_tokens)) return refused("kv", "a block must hold at least one token");
  return {};
}

Status agrees(const Welcome& w, const Welcome& others) {
  if (w.model_digest != others.model_digest) {
    return refused("model_digest", "the other workers serve other weights");
  }
  if (w.model != others.model) return refused("model", "the other workers serve " + others.model);
  if (w.kv.dtype != others.kv.dtype) {
    return refused("kv.dtype", "the other workers keep KV as " + others.kv.dtype + ", not " +
                                   w.kv.dtype + ": give all the same kv_dtype and compute");
  }
  if (!(w.kv == others.kv)) return refused("kv", "the other workers lay out KV differently");
  if (w.vocab != others.vocab) return refused("vocab", "the other workers have another vocabulary");
  return {};
}

}  // namespace

Status Batcher::State::worker_up(WorkerId id, const Welcome& welcome) {
  if (workers.contains(id)) {
    return Error{Code::already_exists, "this worker is up already", "worker"};
  }
  FATHOM_CHECKED(usable(welcome));
  // Whoever waits or runs was started on these weights, so they bind even when every worker is
  // gone.
  if (identity && (!workers.empty() || table.size() > 0)) {
    FATHOM_CHECKED(agrees(welcome, *identity));
  }
  // The same process on a new stream: it forgot what the old one ran, whether we heard of its end
  // or not.
  for (WorkerView* other : Workers(live)) {
    if (other->welcome.instance == welcome.instance) worker_down(other->id);
  }
  if (!identity || identity->model_digest != welcome.model_digest) longest_ever = {};
  identity = welcome;
  auto view = std::make_unique<WorkerView>(id, welcome, config.step_token_budget);
  // One that comes back after it was given up was only slow: it gets twice the time.
  if (const auto known = stalls.find(welcome.instance); known != stalls.end())
    view->stalls = known->second;
  live.push_back(view.get());
  std::sort(live.begin(), live.end(), [](auto* a, auto* b) { return a->id < b->id; });
  workers.emplace(id, std::move(view));
  longest_now = longest_sequence(live);
  longest_ever.prefill = std::max(longest_ever.prefill, longest_now.prefill);
  longest_ever.home = std::max(longest_ever.home, longest_now.home);
  queue.unpark_all();
  admit_again = true;
  return {};
}

void Batcher::State::worker_down(WorkerId id) {
  const auto it = workers.find(id);
  if (it == workers.end()) return;
  WorkerView& worker = *it->second;
  const ByArrival lost_ones = worker.sequences;
  for (const auto& [arrival, request] : lost_ones) {
    lost(*request, &worker, /*avoid=*/false,
         {Code::unavailable, "too many workers were lost under this request", ""});
  }
  CHECK(worker.sequences.empty() && worker.wanting.empty() && worker.blocks.reserved() == 0);
  if (claim.home == &worker || claim.prefill == &worker) claim.home = claim.prefill = nullptr;
  std::erase(live, &worker);
  workers.erase(it);
  longest_now = longest_sequence(live);
  admit_again = true;
}

WorkerView* Batcher::State::worker(WorkerId id) const {
  const auto it = workers.find(id);
  return it == workers.end() ? nullptr : it->second.get();
}

ClusterState Batcher::State::cluster() const {
  ClusterState state;
  if (identity) {
    state.model = identity->model;
    state.model_digest = identity->model_digest;
    state.vocab = identity->vocab;
  }
  int64_t reserved = 0;
  int64_t capacity = 0;
  for (const WorkerView* worker : live) {
    if (!worker->draining && worker->prefills()) ++state.prefill_workers;
    if (!worker->draining && worker->decodes()) ++state.decode_workers;
    if (!worker->decodes()) continue;
    reserved += worker->blocks.reserved();
    capacity += worker->blocks.capacity();
  }
  state.ready = !draining && state.prefill_workers > 0 && state.decode_workers > 0;
  state.context_max = longest_now.both();
  state.waiting = queue.size();
  state.running = static_cast<int32_t>(table.size()) - state.waiting;
  if (capacity > 0) state.kv_usage = static_cast<double>(reserved) / static_cast<double>(capacity);
  return state;
}

}  // namespace fathom
