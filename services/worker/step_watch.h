// Does the step that runs come to an end? A hung engine says nothing by itself, so somebody beside
// the loop looks at how long its turn has taken: shows it in a metric, and writes one line when it
// is too long and one when it has ended after all.
#pragma once

#include "base/clock.h"
#include "worker/metrics.h"

namespace fathom {

class StepWatch {
 public:
  StepWatch(Duration stall, WorkerMetrics& metrics) : stall_(stall), metrics_(metrics) {}
  // `running`: Loop::running_for(). Called now and then, on one thread.
  void look(Duration running);

 private:
  const Duration stall_;
  WorkerMetrics& metrics_;
  Duration stalled_for_{0};  // as last seen; 0: not stalled
};

}  // namespace fathom
