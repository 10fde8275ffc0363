// What does a router see of itself? The brain tells the observer what it hears and does, and asks
// it for a ClusterUpdate when somebody watches. It keeps counters, closes each second as it passes,
// and never changes a decision. Pure: time comes with the calls, the Batcher is only read. Owned by
// the brain's thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/clock.h"
#include "batching/batcher.h"
#include "contract/watch.h"
#include "router/happenings.h"
#include "router/history.h"
#include "router/worker_watch.h"

namespace fathom {

class Observer {
 public:
  // `unix_ns` is the time at `start`: from there on the monotonic clock counts.
  Observer(int64_t unix_ns, Instant start);

  // Before anything of this moment is told: closes the seconds that have passed.
  void advance(Instant now, const Batcher& batcher);
  Instant second_end() const { return instant_of((number_ + 1) * kSecondNs); }

  void worker_up(WorkerId worker, const std::string& address, const Welcome& welcome, Instant now);
  void worker_refused(const std::string& address, const std::string& why, Instant now);
  // Also of one that never came to be.
  void worker_down(WorkerId worker, const std::string& address, const std::string& why,
                   Instant now);
  void step(WorkerId worker, const Report& report, Instant now);
  void gateway_up(GatewayId gateway, const std::string& name, Instant now);
  void gateway_down(GatewayId gateway, Instant now);
  void draining(Instant now);
  void incident(const Incident& incident);
  void ended(const RequestTrace& trace);
  void sent(int64_t tokens) { running_.generated_tokens += tokens; }

  // All that is newer than `from`; `queue_max` is shown beside what waits.
  ClusterUpdate update(const WatchFrom& from, const Batcher& batcher, int32_t queue_max,
                       Instant now) const;

 private:
  static constexpr int64_t kSecondNs = 1'000'000'000;

  int64_t unix_ns(Instant now) const { return unix_ns_ + (now - start_).ns; }
  Instant instant_of(int64_t unix) const { return start_ + Duration{unix - unix_ns_}; }
  void note(Instant now, Happening happening) {
    happenings_.note(unix_ns(now) / 1000, std::move(happening));
  }
  void close_second(const BatcherStats& stats, const Batcher& batcher);
  void forget_strangers(Instant now);
  WorkerWatch& watch(const std::string& address, Instant now);
  const std::string& address(WorkerId worker) const;

  const int64_t unix_ns_;
  const Instant start_;
  int64_t number_;                              // of the second that runs
  WatchedSecond running_;                       // what was counted in it
  BatcherStats told_;                           // at its beginning
  std::map<std::string, WorkerWatch> workers_;  // by address
  std::map<WorkerId, std::string> addresses_;   // of those that are connected, or were a while ago
  std::map<GatewayId, std::string> gateways_;   // connected
  bool draining_ = false;
  History history_;
  Happenings happenings_;
};

}  // namespace fathom
