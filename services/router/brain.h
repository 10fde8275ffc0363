// Who decides? One thread that owns the Batcher: it takes all the news that came, asks for one
// decision, and sends what was decided. Nothing else touches the Batcher, and the brain waits for
// nothing but news and the time the Batcher named.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "batching/batcher.h"
#include "net/drive_link.h"
#include "net/serve_service.h"
#include "net/watch_service.h"
#include "router/inbox.h"
#include "router/metrics.h"
#include "router/observer.h"

namespace fathom {

// Where decisions go; all of it outlives the brain.
struct BrainPorts {
  const Clock& clock;
  RouterInbox& inbox;
  RouterMetrics& metrics;
  ServeService& gateways;
  WatchService& watchers;
  DriveLinks& workers;
  std::function<void(bool ready)> on_ready;  // when it changes, on the brain's thread
};

struct BrainTimes {
  Duration state_interval;  // least, between two reports of load to the gateways
  Duration watch_interval;  // between two views for whoever watches
};

class Brain {
 public:
  Brain(const BatcherConfig& config, const BrainTimes& times, BrainPorts ports);
  ~Brain();  // stops the inbox and waits for the thread

  ClusterState cluster() const;  // as of the last decision
  bool draining() const { return draining_; }
  // True once drained of all requests; false after `patience`.
  bool wait_idle(Duration patience);

 private:
  struct Peer {
    std::string address;
    bool accepted = false;
  };

  void run();
  void hear(News& news);
  void hear(GatewayUp& news);
  void hear(GatewayMessages& news);
  void hear(GatewayDown& news);
  void hear(WorkerReport& news);
  void hear(WorkerDown& news);
  void hear(WatcherUp& news);
  void hear(WatcherDown& news);
  void hear(DrainNow& news);
  void welcome(WorkerId worker, const std::string& address, const Welcome& welcome);
  void decide();
  void give_up(const StalledWorker& stalled);
  void send(std::vector<std::pair<GatewayId, FromRouter>> events);
  void tell_state();
  void tell_watchers();
  void tell(WatcherId watcher, WatchFrom& from);

  const BrainPorts ports_;
  const BrainTimes times_;
  const int32_t queue_max_;
  Batcher batcher_;  // this and what follows up to state_mutex_: on the brain's thread only
  Instant now_{0};
  Instant wake_ = kNever;
  std::set<GatewayId> gateways_;
  std::vector<GatewayId> newcomers_;  // have not heard the state yet
  std::map<WorkerId, Peer> workers_;
  std::map<std::string, std::string> complaints_;  // by worker address: what was logged last
  Observer observer_;
  std::map<WatcherId, WatchFrom> watchers_;  // with what each has
  Instant watch_at_ = kNever;                // the next view
  ClusterState told_;                        // to the gateways
  Instant told_at_{0};

  mutable std::mutex state_mutex_;
  std::condition_variable idle_changed_;
  ClusterState cluster_;
  bool idle_ = true;
  std::atomic<bool> draining_ = false;
  std::thread thread_;
};

}  // namespace fathom
