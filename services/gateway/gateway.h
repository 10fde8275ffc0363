// What is a gateway, seen from outside? A running front of one cell: it speaks HTTP (and gRPC) to
// clients and one RouterLink to its router. Made whole or not at all; draining refuses what is new
// and finishes what runs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "gateway/config.h"
#include "net/router_link.h"
#include "net/watch_link.h"
#include "process/metrics.h"

namespace fathom {

using RouterLinkFactory = std::function<std::unique_ptr<RouterLink>(RouterEvents&)>;
using WatchLinkFactory = std::function<std::unique_ptr<WatchLink>(WatchEvents&)>;

struct GatewayParts {
  Clock& clock;
  Metrics& metrics;
  RouterLinkFactory connect;
  WatchLinkFactory watch;  // for /cluster
  uint64_t seed = 0;       // of request ids and of answers whose clients gave no seed
};

class Gateway {
 public:
  virtual ~Gateway() = default;                  // stops
  virtual std::string address() const = 0;       // of HTTP, as bound
  virtual std::string grpc_address() const = 0;  // empty without gRPC
  virtual std::string not_ready()
      const = 0;             // why requests would be refused; empty when they would not
  virtual void drain() = 0;  // not ready from now on; returns at once
  virtual bool wait_idle(Duration patience) = 0;  // true once nothing runs
  virtual void stop() = 0;
};

// Errors name the setting, file or address at fault. What `parts` refers to outlives the gateway.
Result<std::unique_ptr<Gateway>> start_gateway(const GatewayConfig& config,
                                               const GatewayParts& parts);

}  // namespace fathom
