// Who of those waiting is placed now? The first in the queue's order that fits. One that does not
// fit may be passed a bounded number of times; then it claims the workers it needs: nobody younger
// is placed there until it is. What runs there ends, so it fits at last, however large it is.
#include <algorithm>
#include <string>

#include "base/philox.h"
#include "batching/state.h"

namespace fathom {
namespace {

constexpr size_t kLookahead = 8;  // candidates tried for one admission
constexpr int kPassesMax = 16;
constexpr int kBudgetsOutstanding = 8;
constexpr int64_t kUncomputedMax = 8192;  // when the step budget is the worker's own affair

}  // namespace

void Batcher::State::admit() {
  if (!std::exchange(admit_again, false)) return;
  if (longest_now.both() == 0) return;
  if (claim.holder && !claim.home) choose_claim();
  while (queue.size() > 0 && admit_one()) {
  }
}

bool Batcher::State::admit_one() {
  queue.candidates(kLookahead, candidates);
  if (claim.holder) {
    std::erase(candidates, claim.holder);
    candidates.insert(candidates.begin(), claim.holder);
  }
  passed.clear();
  bool again = false;
  for (Request* request : candidates) {
    switch (attempt(*request)) {
      case Attempt::no_room:
        passed.push_back(request);
        continue;
      case Attempt::impossible:
        if (claim.holder == request) claim = {};
        queue.park(*request);
        again = true;  // another takes its place among the candidates
        continue;
      case Attempt::placed:
        for (Request* earlier : passed) passed_over(*earlier);
        return true;
      case Attempt::ended:
        return true;
    }
  }
  return again;
}

Batcher::State::Attempt Batcher::State::attempt(Request& request) {
  if (auto error = too_long(request)) {
    fail(request, std::move(*error));
    return Attempt::ended;
  }
  const PlacementNeed need = need_of(request);
  const bool scores = request.sampling.max_tokens == 0;
  const int32_t longest = scores ? longest_now.prefill : longest_now.both();
  if (need.tokens > longest || need.total < need.tokens + (scores ? 0 : 1)) {
    return Attempt::impossible;
  }
  // Whoever is older than the claim's holder may go where it likes: there are finitely many of
  // those.
  const bool bound = claim.holder && request.arrival > claim.holder->arrival;
  const int32_t budget = config.step_token_budget;
  const PlacementRules rules{
      .uncomputed_max = budget > 0 ? int64_t{kBudgetsOutstanding} * budget : kUncomputedMax,
      .claimed_prefill = bound ? claim.prefill : nullptr,
      .claimed_home = bound ? claim.home : nullptr};
  const auto choice = choose_placement(live, need, rules);
  if (!choice) return Attempt::no_room;
  place(request, *choice, need.total);
  return Attempt::placed;
}

PlacementNeed Batcher::State::need_of(const Request& request) const {
  const int64_t wanted = int64_t{request.prompt_tokens} + request.sampling.max_tokens;
  const bool scores = request.sampling.max_tokens == 0;
  const int32_t longest = scores ? longest_now.prefill : longest_now.both();
  return {.tokens = request.length(),
          .total = static_cast<int32_t>(std::min<int64_t>(wanted, longest)),
          .lease_tokens = config.lease_tokens,
          .avoid_prefill = request.avoid_prefill,
          .avoid_home = request.avoid_home};
}

void Batcher::State::place(Request& request, const PlacementChoice& choice, int32_t total) {
  queue.admitted(request);
  if (claim.holder == &request) claim = {};
  if (request.trace.admitted == kNever) {
    request.trace.admitted = now;
    latencies.queue.add(now - request.trace.arrived);
    ++counters.admitted;
  }
  const SeqId seq = table.next_seq(request);
  Placement& place = request.place;
  place = {.seq = seq,
           .home = choice.home,
           .prefill = choice.prefill,
           .grant = choice.grant,
           .total = total,
           .prefill_blocks = choice.prefill_blocks,
           .computing = request.length(),
           .uncomputed = request.length(),
           .key = philox_seed(config.epoch, seq.value),
           .handoff = choice.prefill != nullptr};
  WorkerView& home = *place.home;
  home.blocks.take(place.grant.blocks);
  home.sequences.emplace(request.arrival, &request);
  counters.leases += request.lease_left();
  ++counters.prefilling;

  WorkerView& computes = place.handoff ? *place.prefill : home;
  computes.uncomputed += place.uncomputed;
  Prefill prefill{.seq = seq,
                  .tokens = request.tokens,
                  .prompt_tokens = request.prompt_tokens,
                  .sampling = request.sampling,
                  .blocks = place.handoff ? place.prefill_blocks : place.grant.blocks,
                  .lease = place.handoff ? 1 : request.lease_left(),
                  .handoff = place.handoff,
                  .key = place.key};
  prefill.sampling.max_tokens = total - request.prompt_tokens;
  // Once delivered they are not computed again.
  if (request.prompt_logprobs >= request.prompt_tokens - 1) prefill.sampling.prompt_logprobs = -1;
  computes.edits.push_back(std::move(prefill));
  if (!place.handoff) return;

  computes.blocks.take(place.prefill_blocks);
  computes.sequences.emplace(request.arrival, &request);
  ++counters.moving;
  home.edits.push_back(Receive{.seq = seq,
                               .tokens = request.length(),
                               .blocks = place.grant.blocks,
                               .ticket = {.address = computes.welcome.fetch_address,
                                          .instance = computes.welcome.instance,
                                          .seq = seq,
                                          .key = place.key}});
}

void Batcher::State::passed_over(Request& request) {
  if (++request.passes < kPassesMax || claim.holder) return;
  claim.holder = &request;
  choose_claim();
}

void Batcher::State::choose_claim() {
  const auto choice =
      choose_placement(live, need_of(*claim.holder), PlacementRules{.as_if_empty = true});
  claim.home = choice ? choice->home : nullptr;
  claim.prefill = choice ? choice->prefill : nullptr;
}

}  // namespace fathom
