// How does a whole cluster run on one machine? `fathom up` starts every service as a process, shows
// how far the weights are, asks one question, stays until it is told to stop and then stops
// gateway, router and workers in that order, so that what runs can end. A service that dies before
// the cluster is ready ends it all, with its last lines; one that dies later is started again.
#pragma once

#include "base/clock.h"
#include "cli/screen.h"
#include "cli/signals.h"
#include "cli/up_options.h"

namespace fathom {

// Runs until stopped; the exit code. Takes over this thread; no other may run yet.
int run_up(const UpOptions& options, Screen& screen, const SignalInbox& inbox, const Clock& clock);

// The same in a process of its own: returns 0 once it is ready, 1 when it failed.
int run_up_detached(const UpOptions& options, Screen& screen);

// Stops the cluster whose files lie in this folder, and waits for its end.
int run_down(const std::string& run_dir, double patience_seconds, Screen& screen);

}  // namespace fathom
