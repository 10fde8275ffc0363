// How does a placement end without its request? There is one way for all losses: give everything
// back, tell whoever still holds something to drop it, and wait again as prompt and emitted tokens.
// A worker that freed its part already (it finished, failed, or is gone) is not told.
#include "batching/state.h"

namespace fathom {

void Batcher::State::release_prefill(Request& request, bool drop) {
  Placement& place = request.place;
  WorkerView& worker = *place.prefill;
  worker.blocks.give(place.prefill_blocks);
  worker.uncomputed -= place.uncomputed;
  worker.sequences.erase({request.arrival, &request});
  worker.renew_again = true;
  if (drop) worker.edits.push_back(Drop{place.seq});
  place.prefill = nullptr;
  place.prefill_blocks = 0;
  place.uncomputed = 0;
  admit_again = true;
}

void Batcher::State::release(Request& request, const WorkerView* freed_by) {
  Placement& place = request.place;
  WorkerView& home = *place.home;
  counters.leases -= request.lease_left();
  if (place.handoff && !place.resident) --counters.moving;
  counters.prefilling -= !place.first_token;
  counters.decoding -= place.decodes();
  if (place.prefill) release_prefill(request, place.prefill != freed_by);
  home.blocks.give(place.grant.blocks);
  home.uncomputed -= place.uncomputed;
  home.sequences.erase({request.arrival, &request});
  if (place.wants) home.wanting.erase({request.arrival, &request});
  home.renew_again = true;
  if (&home != freed_by) home.edits.push_back(Drop{place.seq});
  place = {};
  admit_again = true;
}

void Batcher::State::requeue(Request& request, const WorkerView* freed_by) {
  release(request, freed_by);
  request.resumed = true;
  request.passes = 0;
  queue.add(request);
}

void Batcher::State::lost(Request& request, const WorkerView* freed_by, bool avoid,
                          const Error& why) {
  ++counters.recoveries;
  const WorkerView* culprit = freed_by ? freed_by : request.place.home;
  incidents.push_back({.kind = Incident::Kind::recovered, .worker = culprit->id});
  if (++request.recoveries > config.recoveries_max) {
    return fail(request, {Code::unavailable, why.message, why.field}, freed_by);
  }
  const Placement& place = request.place;
  request.avoid_home = avoid ? place.home->id : kNobody;
  request.avoid_prefill = avoid ? (place.prefill ? place.prefill : place.home)->id : kNobody;
  requeue(request, freed_by);
}

}  // namespace fathom
