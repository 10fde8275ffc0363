// Which worker has stopped stepping? One whose sequences wait for a step and that has reported
// nothing for longer than any step it may take is given up: as if its stream had broken. Silence is
// counted from its last report, or from the moment it was given something to do, and a worker that
// has nothing to do may be silent for ever.
#include <algorithm>

#include "batching/state.h"

namespace fathom {
namespace {

// No step is believed to take longer: else one wrong number would buy any silence.
constexpr int64_t kStepMaxUs = 600'000'000;
// Of the longest step reported. A prompt's first chunk and its thousandth differ by less.
constexpr int64_t kStepsOfPatience = 10;
constexpr int32_t kDoublingsMax = 5;
// A router that was stopped itself finds all workers silent; what they said meanwhile arrives
// within this share of the patience.
constexpr int64_t kSecondLook = 8;
constexpr size_t kRememberedMax = 1024;

// Of the two halves of a handoff one owes, never both: the prefill worker until the first token,
// then the home, first the arrival of the KV and then tokens.
bool waits_for(const WorkerView& worker, const Request& request) {
  const Placement& place = request.place;
  if (place.prefill == &worker) return !place.first_token;
  if (place.handoff && !place.decodes()) return place.first_token;
  return !place.first_token || request.lease_left() > 0;
}

}  // namespace

// Ends at the first that waits, which is usually the oldest.
bool Batcher::State::owes_step(const WorkerView& worker) const {
  return std::ranges::any_of(worker.sequences,
                             [&](const auto& entry) { return waits_for(worker, *entry.second); });
}

Duration Batcher::State::patience_with(const WorkerView& worker) const {
  const int64_t step_us = std::min<int64_t>(worker.longest_step_us, kStepMaxUs);
  const Duration once = config.stall + Duration::us(kStepsOfPatience * step_us);
  return {once.ns << std::min(worker.stalls, kDoublingsMax)};
}

void Batcher::State::heard(WorkerView& worker, const Report& report) {
  worker.longest_step_us =
      std::max<int64_t>(worker.longest_step_us, static_cast<int64_t>(report.step_us));
  worker.silent_since = now;
  worker.suspected = kNever;
  worker.look_again = true;
}

void Batcher::State::give_up_silent() {
  if (config.stall.ns <= 0) return;
  const Workers there = live;
  for (WorkerView* worker : there) {
    if (!worker->owes || now < silence_ends(*worker)) continue;
    if (worker->suspected == kNever) {
      worker->suspected = now;
      continue;
    }
    ++counters.stalled;
    stalled.push_back({.worker = worker->id, .silent = now - worker->silent_since});
    if (stalls.size() >= kRememberedMax) stalls.clear();
    ++stalls[worker->welcome.instance];
    worker_down(worker->id);
  }
}

// When to look at it: the first time, and the second.
Instant Batcher::State::silence_ends(const WorkerView& worker) const {
  const Duration patience = patience_with(worker);
  if (worker.suspected == kNever) return worker.silent_since + patience;
  return worker.suspected + Duration{patience.ns / kSecondLook};
}

// After the edits of a tick are written: who owes a step now, and when must somebody look?
Instant Batcher::State::watch_silence() {
  Instant wake = kNever;
  if (config.stall.ns <= 0) return wake;
  for (WorkerView* worker : live) {
    if (std::exchange(worker->look_again, false)) {
      const bool owed = std::exchange(worker->owes, owes_step(*worker));
      if (worker->owes && !owed) worker->silent_since = now;
      if (!worker->owes) worker->suspected = kNever;
    }
    if (worker->owes) wake = std::min(wake, silence_ends(*worker));
  }
  return wake;
}

}  // namespace fathom
