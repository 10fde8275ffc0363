// Who may go on, and who gives way? Sequences that run low ask their home's account for more,
// oldest first. When one has nothing left and no block is free, the youngest sequence on that
// worker gives way to it. So the oldest sequence of a worker always gets what it needs, as far as
// the worker's whole capacity.
#include <utility>

#include "batching/state.h"

namespace fathom {

// Called after tokens came: does it need more, now or soon?
void Batcher::State::note_lease(Request& request) {
  Placement& place = request.place;
  if (!place.wants) {
    if (!wants_more(place.grant, request.length(), config.lease_tokens)) return;
    place.wants = true;
    place.home->wanting.emplace(request.arrival, &request);
    place.home->renew_again = true;
  } else if (request.lease_left() == 0) {
    place.home->renew_again = true;
  }
}

// Giving way frees blocks, here and where the other half was; each round has fewer sequences, so it
// ends.
void Batcher::State::renew() {
  bool again = true;
  while (again) {
    again = false;
    for (WorkerView* worker : live) {
      if (!std::exchange(worker->renew_again, false)) continue;
      renew_on(*worker);
      again = true;
    }
  }
}

void Batcher::State::renew_on(WorkerView& worker) {
  uint64_t done = 0;  // arrivals up to here were looked at; giving way changes the set under us
  for (;;) {
    const auto next = worker.wanting.lower_bound({done + 1, nullptr});
    if (next == worker.wanting.end()) return;
    Request& request = *next->second;
    if (extend_grant(worker, request)) {
      done = request.arrival;
      continue;
    }
    Request& youngest = *worker.sequences.rbegin()->second;
    if (request.lease_left() > 0 || &youngest == &request) {
      done = request.arrival;  // it still runs, or there is nobody it may send away: it waits
    } else {
      give_way(youngest);
    }
  }
}

bool Batcher::State::extend_grant(WorkerView& worker, Request& request) {
  Placement& place = request.place;
  const Extension more =
      extend(place.grant, config.lease_tokens, worker.blocks.free(), worker.block_tokens());
  if (more.lease == 0) return false;
  worker.blocks.take(more.blocks);
  place.grant.upto += more.lease;
  place.grant.blocks += more.blocks;
  counters.leases += more.lease;
  worker.edits.push_back(Renew{.seq = place.seq, .lease = more.lease, .blocks = more.blocks});
  place.wants = false;
  worker.wanting.erase({request.arrival, &request});
  return true;
}

void Batcher::State::give_way(Request& request) {
  ++counters.preemptions;
  incidents.push_back({.kind = Incident::Kind::gave_way, .worker = request.place.home->id});
  request.avoid_home = request.avoid_prefill = kNobody;
  requeue(request, nullptr);
}

}  // namespace fathom
