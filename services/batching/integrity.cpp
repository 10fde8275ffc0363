// Is the account right? Counts everything again from the requests and compares it with what is
// remembered.
#include <unordered_map>

#include "batching/state.h"

namespace fathom {
namespace {

struct Promised {
  int64_t blocks = 0;
  int64_t uncomputed = 0;
  size_t sequences = 0;
  size_t wanting = 0;
};

void check_placement(const Request& request) {
  const Placement& place = request.place;
  const Grant& grant = place.grant;
  CHECK(request.length() <= grant.upto && grant.upto <= grant.end && grant.end <= place.total);
  CHECK(grant.blocks == blocks_for(grant.upto, place.home->block_tokens()));
  CHECK(grant.end <= place.home->longest());
  CHECK(place.handoff || !place.prefill);
  CHECK(place.prefill != place.home);
  CHECK(!place.handoff || (place.prefill == nullptr) == (place.first_token && place.resident));
  CHECK(place.prefill || place.prefill_blocks == 0);
  CHECK(place.uncomputed >= 0 && place.uncomputed <= place.computing);
  CHECK(place.home->wanting.contains({request.arrival, const_cast<Request*>(&request)}) ==
        place.wants);
}

}  // namespace

void Batcher::State::check_integrity() const {
  std::unordered_map<const WorkerView*, Promised> promised;
  int64_t leases = 0;
  int32_t waiting = 0;
  int32_t moving = 0;
  int32_t prefilling = 0;
  int32_t decoding = 0;
  size_t alive = 0;
  table.each([&](const Request& request) {
    ++alive;
    CHECK(table.find(request.key) == &request);
    CHECK(request.emitted() >= 0 && request.tenant != nullptr);
    if (!request.placed()) {
      ++waiting;
      return;
    }
    check_placement(request);
    const Placement& place = request.place;
    CHECK(table.find(place.seq) == &request);
    const auto held = std::make_pair(request.arrival, const_cast<Request*>(&request));
    CHECK(place.home->sequences.contains(held));
    Promised& home = promised[place.home];
    home.blocks += place.grant.blocks;
    ++home.sequences;
    home.wanting += place.wants;
    if (place.prefill) {
      CHECK(place.prefill->sequences.contains(held));
      Promised& prefill = promised[place.prefill];
      prefill.blocks += place.prefill_blocks;
      ++prefill.sequences;
    }
    promised[place.prefill ? place.prefill : place.home].uncomputed += place.uncomputed;
    leases += request.lease_left();
    moving += place.handoff && !place.resident;
    prefilling += !place.first_token;
    decoding += place.decodes();
  });
  CHECK(alive == table.size());
  CHECK(waiting == queue.size());
  CHECK(leases == counters.leases && moving == counters.moving);
  CHECK(prefilling == counters.prefilling && decoding == counters.decoding);
  CHECK(counters.blocks_of_finished == 0);
  CHECK(live.size() == workers.size());
  for (const WorkerView* worker : live) {
    const Promised& expected = promised[worker];
    CHECK(worker->blocks.reserved() == expected.blocks);
    CHECK(worker->blocks.reserved() <= worker->blocks.capacity());
    CHECK(worker->uncomputed == expected.uncomputed);
    CHECK(worker->sequences.size() == expected.sequences && worker->rows() <= worker->rows_max);
    CHECK(worker->wanting.size() == expected.wanting);
    const bool settled = config.stall.ns > 0 && !worker->look_again && worker->edits.empty();
    CHECK(!settled || worker->owes == owes_step(*worker));
  }
  CHECK(!claim.holder || !claim.holder->placed());
  queue.check_integrity();
}

}  // namespace fathom
