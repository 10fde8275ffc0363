// How does a process hear the system? Signals are blocked in every thread and taken one by one
// where the process is ready for them, never in a handler. Make a SignalInbox before the first
// thread starts.
#pragma once

#include <sys/types.h>

#include <optional>

#include "base/clock.h"

namespace fathom {

class SignalInbox {
 public:
  // SIGINT, SIGTERM and SIGHUP; SIGCHLD too when `children`. SIGPIPE is ignored.
  explicit SignalInbox(bool children);
  // The next signal, or none after `patience`.
  std::optional<int> wait(Duration patience) const;
  // The next signal, however long it takes.
  int wait() const;

 private:
  bool children_;
};

// Ends this process, as by SIGTERM, as soon as its parent has ended: what `fathom up` starts never
// outlives it. `parent` is who started us, in case it has ended already.
void end_with_parent(pid_t parent);

}  // namespace fathom
