// How does a gateway reach its router? Submit and cancel go down, batches of events come up.
// Implementations: ServeClient (gRPC, reconnects by itself) and, in tests, a router in the same
// process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "contract/serve.h"

namespace fathom {

// Called on a thread of the link, one call per message; must not block.
class RouterEvents {
 public:
  virtual ~RouterEvents() = default;
  virtual void on_events(std::vector<FromRouter> events) = 0;
  // The stream broke: nothing submitted so far will be answered; submit again once connected.
  virtual void on_router_lost(const Error& why) = 0;
  virtual void on_router_connected() = 0;  // a fresh stream: the router knows none of our requests
};

class RouterLink {
 public:
  virtual ~RouterLink() = default;
  // From any thread, never blocking; messages queue up to a bound and leave in order, several per
  // write. RESOURCE_EXHAUSTED when the queue is full, UNAVAILABLE while not connected.
  virtual Status send(std::vector<ToRouter> messages) = 0;
};

// Connects to host:port (a name is resolved at each try) and tries again after 100 ms, doubling to
// 2 s, until destroyed. `events` outlives the link; no event comes after the link is gone. Do not
// destroy it from an event.
std::unique_ptr<RouterLink> connect_router(const std::string& address,
                                           const std::string& gateway_name, RouterEvents& events);

}  // namespace fathom
