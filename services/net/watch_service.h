// How does a router let others watch? One Watch stream for each watcher, beside the streams of
// requests and apart from them.
#pragma once

#include <memory>

#include "base/ids.h"
#include "contract/watch.h"

namespace grpc {
class Service;
}

namespace fathom {

// Called on gRPC threads; must not block.
class WatcherEvents {
 public:
  virtual ~WatcherEvents() = default;
  virtual void on_watcher_up(WatcherId watcher, const WatchFrom& from) = 0;
  virtual void on_watcher_down(WatcherId watcher) = 0;  // once, after its up
};

class WatchService {
 public:
  virtual ~WatchService() = default;
  virtual grpc::Service& grpc() = 0;
  // Ignored when the watcher is gone. One that leaves more than updates_queued_max unread is
  // disconnected: it comes again and says what it has.
  virtual void send(WatcherId watcher, ClusterUpdate update) = 0;
  // Ends all streams. No event comes after it; do not call it from one.
  virtual void stop() = 0;
};

struct WatchOptions {
  size_t updates_queued_max = 16;
  size_t watchers_max = 1024;  // one more is refused with RESOURCE_EXHAUSTED
};

// `events` outlives the service. Destroy the service after the server that carries it.
std::unique_ptr<WatchService> make_watch_service(WatcherEvents& events,
                                                 const WatchOptions& options = {});

}  // namespace fathom
