// What is a router, seen from outside? The running brain of one cell: gateways connect to it, it
// connects to its workers. Made whole or not at all; draining refuses what is new and finishes what
// runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "contract/serve.h"
#include "process/metrics.h"
#include "router/config.h"

namespace fathom {

struct RouterParts {
  const Clock& clock;
  Metrics& metrics;
  // Unix nanoseconds at the start of the process: a router that starts later has a higher one, and
  // workers obey the highest.
  uint64_t epoch = 0;
};

class Router {
 public:
  virtual ~Router() = default;                         // stops
  virtual std::string address() const = 0;             // gRPC, as bound
  virtual std::string operations_address() const = 0;  // as bound; empty without
  virtual ClusterState cluster() const = 0;
  virtual std::string not_ready()
      const = 0;             // why requests would be refused or wait; empty when not
  virtual void drain() = 0;  // returns at once
  virtual bool wait_idle(Duration patience) = 0;  // true once nothing waits or runs
  virtual void stop() = 0;                        // blocks until all streams are gone
};

// Errors name the setting or address at fault. What `parts` refers to outlives the router.
Result<std::unique_ptr<Router>> start_router(const RouterConfig& config, RouterParts parts);

}  // namespace fathom
