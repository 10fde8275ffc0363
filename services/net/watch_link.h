// How does a gateway watch its router? Only while it is told to: then one Watch stream, opened
// again when it breaks. Implementations: connect_watch (gRPC) and, in tests, a router in the same
// process.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "contract/watch.h"

namespace fathom {

// Called on a thread of the link, one call at a time; must not block.
class WatchEvents {
 public:
  virtual ~WatchEvents() = default;
  // Asked at each connection: only what is newer is sent.
  virtual WatchFrom watched_so_far() = 0;
  virtual void on_update(ClusterUpdate update) = 0;
  // The stream broke or could not be opened; once for each outage. It is tried again while wanted.
  virtual void on_watch_lost(const Error& why) = 0;
};

class WatchLink {
 public:
  virtual ~WatchLink() = default;
  // From any thread, never blocking. Not wanted at first. After watch(false) a last update may
  // still come.
  virtual void watch(bool wanted) = 0;
};

// To host:port, tried again after 100 ms, doubling to 2 s. `events` outlives the link; no event
// comes after the link is gone. Do not destroy it from an event.
std::unique_ptr<WatchLink> connect_watch(const std::string& address, WatchEvents& events);

}  // namespace fathom
