// What did a worker do? Its news is applied only where it fits what it was told: tokens that
// continue exactly where the request stands, within the lease. News about an older placement finds
// nothing and is ignored; news that does not fit a live one costs the worker that placement, and
// the request is computed again elsewhere.
#include <algorithm>

#include "batching/state.h"

namespace fathom {
namespace {

// Failures of the way, not of the request: the same tokens can succeed elsewhere.
bool worth_another_try(Code code) {
  switch (code) {
    case Code::data_loss:
    case Code::unavailable:
    case Code::aborted:
    case Code::not_found:            // the peer does not know the ticket
    case Code::failed_precondition:  // the peer restarted
    case Code::resource_exhausted:   // the worker's account differs from ours
      return true;
    default:
      return false;
  }
}

}  // namespace

void Batcher::State::report(WorkerView& worker, const Report& report) {
  for (const SeqId seq : report.resident) on_resident(worker, seq);
  for (const Row& row : report.rows) on_row(worker, row);
  for (const SeqFailure& failure : report.failed) on_failed(worker, failure);
  if (report.draining != worker.draining) {
    worker.draining = report.draining;
    longest_now = longest_sequence(live);
    if (claim.home == &worker || claim.prefill == &worker) claim.home = claim.prefill = nullptr;
    if (!worker.draining) queue.unpark_all();
    admit_again = true;
  }
}

void Batcher::State::on_row(WorkerView& worker, const Row& row) {
  Request* request = table.find(row.seq);
  if (!request) return;
  const Placement& place = request->place;
  if (place.home != &worker && place.prefill != &worker) return;  // it was told to drop it already
  if (!plausible(worker, *request, row)) {
    return lost(
        *request, nullptr, /*avoid=*/true,
        {Code::unavailable, "workers reported tokens that do not continue this request", ""});
  }
  note_computed(*request, row);
  deliver(worker, *request, row);
}

bool Batcher::State::plausible(const WorkerView& worker, const Request& request,
                               const Row& row) const {
  const Placement& place = request.place;
  if (row.finish == Finish::cancelled || row.finish == Finish::failed) return false;
  const bool news = !row.tokens.empty() || row.finish != Finish::none;
  if (!news) return true;
  if (!row.tokens.empty() && row.first != request.emitted()) return false;
  const int32_t vocab = worker.welcome.vocab;
  for (const TokenId token : row.tokens) {
    if (token < 0 || (vocab > 0 && token >= vocab)) return false;
  }
  const int64_t count = static_cast<int64_t>(row.tokens.size());
  if (request.length() + count > std::min(place.grant.upto, place.total)) return false;
  if (!place.handoff) return true;
  if (place.prefill == &worker && place.home != &worker) return !place.first_token && count <= 1;
  return place.first_token && place.resident;
}

void Batcher::State::note_computed(Request& request, const Row& row) {
  Placement& place = request.place;
  if (place.uncomputed == 0) return;
  int32_t left = 0;
  if (row.tokens.empty()) {
    const int64_t behind = int64_t{place.computing} - row.computed;
    left = static_cast<int32_t>(std::clamp<int64_t>(behind, 0, place.uncomputed));
  }
  if (left == place.uncomputed) return;
  WorkerView& worker = place.prefill ? *place.prefill : *place.home;
  worker.uncomputed -= place.uncomputed - left;
  place.uncomputed = left;
  admit_again = true;
}

// The part of a row that its client has not had.
Tokens Batcher::State::event_of(Request& request, const Row& row) {
  Tokens event{.id = request.key.id,
               .first = request.emitted(),
               .tokens = row.tokens,
               .logprobs = row.logprobs,
               .finish = row.finish};
  Placement& place = request.place;
  if (!place.first_token && request.trace.first_token == kNever) {
    event.cached = row.cached;
    request.trace.cached = row.cached;
  }
  if (row.prompt_logprobs.empty()) return event;
  const int32_t known = std::max(0, request.prompt_logprobs - place.prompt_logprobs);
  place.prompt_logprobs += static_cast<int32_t>(row.prompt_logprobs.size());
  if (known >= static_cast<int32_t>(row.prompt_logprobs.size())) return event;
  event.prompt_logprobs.assign(row.prompt_logprobs.begin() + known, row.prompt_logprobs.end());
  request.prompt_logprobs = place.prompt_logprobs;
  return event;
}

// Its `count` newest tokens came now.
void Batcher::State::note_times(Request& request, int32_t count) {
  if (count == 0) return;
  if (request.emitted() == count) {
    latencies.first_token.add(now - request.trace.arrived);
  } else if (request.last_tokens != kNever) {  // not the first after a router was lost
    const Duration gap = now - request.last_tokens;
    latencies.inter_token.add({gap.ns / count}, static_cast<uint32_t>(count));
  }
  request.last_tokens = now;
}

void Batcher::State::deliver(WorkerView& worker, Request& request, const Row& row) {
  Tokens event = event_of(request, row);
  const bool has_tokens = !event.tokens.empty();
  if (!has_tokens && event.prompt_logprobs.empty() && event.finish == Finish::none) return;
  const int32_t count = static_cast<int32_t>(event.tokens.size());
  request.tokens.insert(request.tokens.end(), event.tokens.begin(), event.tokens.end());
  counters.leases -= count;
  queue.charge_output(request, count);
  Placement& place = request.place;
  const WorkerView* freed_by = &worker;
  if (place.handoff && place.prefill == &worker) freed_by = nullptr;  // a handoff keeps its blocks
  if (has_tokens && event.finish == Finish::none && request.length() >= place.total) {
    event.finish = Finish::length;  // the worker did not see it; nobody waits for what can not come
    freed_by = nullptr;
  }
  const Finish finish = event.finish;
  events.emplace_back(request.key.gateway, std::move(event));
  note_times(request, count);
  const bool first = has_tokens && !std::exchange(place.first_token, true);
  counters.prefilling -= first;
  counters.decoding += first && place.decodes();
  if (first && request.trace.first_token == kNever) request.trace.first_token = now;
  if (finish != Finish::none) return end(request, finish, Code::ok, freed_by);
  if (!has_tokens) return;
  if (first && place.handoff) on_first_token_of_handoff(request);
  if (request.length() == place.grant.upto && place.grant.upto == place.grant.end) {
    return give_way(request);  // it has outgrown this home; a larger one can hold it
  }
  note_lease(request);
}

void Batcher::State::on_first_token_of_handoff(Request& request) {
  Placement& place = request.place;
  Decode decode{.seq = place.seq,
                .tokens = request.tokens,
                .prompt_tokens = request.prompt_tokens,
                .sampling = request.sampling,
                .lease = request.lease_left()};
  decode.sampling.max_tokens = place.total - request.prompt_tokens;
  decode.sampling.prompt_logprobs = -1;
  place.home->edits.push_back(std::move(decode));
  if (place.resident) release_prefill(request, /*drop=*/true);
}

void Batcher::State::on_resident(WorkerView& worker, SeqId seq) {
  Request* request = table.find(seq);
  if (!request) return;
  Placement& place = request->place;
  if (place.home != &worker || !place.handoff || place.resident) return;
  place.resident = true;
  counters.decoding += place.decodes();
  --counters.moving;
  ++counters.moves;
  incidents.push_back({.kind = Incident::Kind::moved,
                       .worker = worker.id,
                       .peer = place.prefill ? place.prefill->id : kNobody});
  // The prefill worker is dropped once both are here: its first token may still be on the way.
  if (place.first_token) release_prefill(*request, /*drop=*/true);
}

void Batcher::State::on_failed(WorkerView& worker, const SeqFailure& failure) {
  Request* request = table.find(failure.seq);
  if (!request) return;
  const Placement& place = request->place;
  if (place.home != &worker && place.prefill != &worker) return;
  // Until the KV is there only the way can have failed, whatever the code says (a fetch that timed
  // out).
  const bool transfer = place.handoff && place.home == &worker && !place.resident;
  if (transfer) {
    ++counters.transfer_failures;
    incidents.push_back({.kind = Incident::Kind::transfer_failed,
                         .worker = worker.id,
                         .peer = place.prefill ? place.prefill->id : kNobody});
  }
  if (transfer || worth_another_try(failure.error.code)) {
    lost(*request, &worker, /*avoid=*/true, failure.error);
  } else {
    fail(*request, failure.error, &worker);
  }
}

}  // namespace fathom
