// How did a request end, in one word? Metrics and watchers count by it.
#pragma once

#include "batching/batcher.h"
#include "contract/watch.h"

namespace fathom {

inline Outcome outcome_of(const RequestTrace& trace) {
  switch (trace.finish) {
    case Finish::stop:
      return Outcome::stop;
    case Finish::length:
      return Outcome::length;
    case Finish::cancelled:
      return Outcome::cancelled;
    default:
      break;
  }
  if (trace.code == Code::deadline_exceeded) return Outcome::timeout;
  if (trace.code == Code::resource_exhausted) return Outcome::refused;
  return Outcome::failed;
}

}  // namespace fathom
