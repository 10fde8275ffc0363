// How does a service live and end? It starts, works until a signal or its own end, drains, and
// reports how it ended as the exit code: 0 after a drain, 1 after an error, 130 or 143 when a
// second signal cut the drain short.
#pragma once

#include <functional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "cli/signals.h"

namespace fathom {

// What is different between services.
struct ServiceCalls {
  // Opens ports and returns; `on_end` may be called from any thread when the service ends by
  // itself.
  std::function<Status(std::function<void()> on_end)> start;
  std::function<void()> drain;         // returns at once
  std::function<bool(Duration)> wait;  // true once nothing runs any more
  std::function<Status()> stop;        // how it ended
  Duration drain_max = Duration::seconds(600);
};

int run_service(const std::string& name, const ServiceCalls& calls, const SignalInbox& inbox,
                const Clock& clock);

}  // namespace fathom
