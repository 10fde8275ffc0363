#include "worker/step_watch.h"

#include "process/log.h"

namespace fathom {

void StepWatch::look(Duration running) {
  metrics_.step_running_seconds.Set(running.to_seconds());
  const bool stalled = running > stall_;
  // Shorter than before: it is another turn.
  if (stalled_for_.ns > 0 && running < stalled_for_) {
    log_warning("the step has returned after all", {{"seconds", stalled_for_.to_seconds()}});
    stalled_for_ = {};
  }
  if (stalled && stalled_for_.ns == 0)
    log_error("a step does not return", {{"seconds", running.to_seconds()}});
  if (stalled) stalled_for_ = running;
}

}  // namespace fathom
