// Who is next? Requests that ran before come first, oldest first: they hold a client's half-written
// answer. New ones are chosen by virtual token counters (Sheng et al., "Fairness in Serving Large
// Language Models", OSDI'24): the tenant that was served least. Inside a tenant its users take
// turns (start-time fair queueing, Goyal et al., SIGCOMM'96), first come first served for each:
// they divide the tenant's share and never add to it. Every sixteenth choice is the oldest of all,
// so nobody starves whatever tenants appear. Lengths are bounded; the rest is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "batching/sequence.h"

namespace fathom {

// One of those who share a tenant.
struct TenantUser {
  std::string name;
  int64_t turn_after = 0;  // earliest turn of its next request
  int32_t requests = 0;    // alive
};

// A fairness key and what it was served: 1 per prompt token when admitted, 2 per emitted token.
struct Tenant {
  std::string name;
  int64_t served = 0;
  int32_t requests = 0;  // alive, waiting or not
  ByArrival waiting;     // new ones
  // The same in the order in which users take turns: turn, arrival.
  std::set<std::tuple<int64_t, uint64_t, Request*>> turns;
  int64_t turn = 0;  // of the request that was admitted last
  std::unordered_map<std::string, TenantUser> users;
  int32_t parked = 0;  // new ones set aside
  // The entry in the order of tenants, which may lag behind `served`; valid while `waiting` is not
  // empty.
  int64_t listed_served = 0;
  uint64_t listed_arrival = 0;
};

class WaitingQueue {
 public:
  struct Limits {
    int32_t requests_max = 0;
    int64_t tokens_max = 0;
    int32_t tenant_requests_max = 0;
  };
  // Candidates offered from one tenant at a time, so that a request which does not fit hides only
  // so many.
  static constexpr int kPerTenant = 4;
  static constexpr int kOldestEvery = 16;

  explicit WaitingQueue(const Limits& limits) : limits_(limits) {}

  // Why one more new request can not wait here; nothing when it can.
  std::optional<Error> refusal(const std::string& tenant, int64_t tokens) const;

  // Binds a request to its tenant, and to the user among it, for its whole life.
  void enter(Request& request, const std::string& tenant, const std::string& user);
  void leave(Request& request);

  void add(Request& request);       // new, or resumed if it says so
  void remove(Request& request);    // cancelled, out of time
  void admitted(Request& request);  // removed and charged
  void charge_output(Request& request, int64_t tokens) {
    request.tenant->served += 2 * tokens;
    request.user->turn_after += 2 * tokens;
  }

  // Set aside one that no live worker could ever hold, so that it hides nobody; until a worker
  // joins.
  void park(Request& request);
  void unpark_all();

  // The next `max` in order of preference.
  void candidates(size_t max, std::vector<Request*>& out);

  int32_t size() const {
    return static_cast<int32_t>(fresh_.size() + resumed_.size() + parked_.size());
  }
  const ByArrival& fresh() const { return fresh_; }
  const ByArrival& parked() const { return parked_; }
  void check_integrity() const;

 private:
  using Order = std::set<std::tuple<int64_t, uint64_t, Tenant*>>;  // served, oldest waiting, tenant

  static void take_turn(Request& request, const std::string& user);
  void attach(Request& request);
  void detach(Request& request);
  void list(Tenant& tenant);
  void unlist(Tenant& tenant);
  void refresh_least();
  void forget_idle();

  Limits limits_;
  ByArrival fresh_, resumed_, parked_;
  int64_t fresh_tokens_ = 0;  // of new ones, parked or not
  std::unordered_map<std::string, Tenant> tenants_;
  Order order_;               // of tenants with waiting requests
  int64_t served_floor_ = 0;  // of the last tenant that left the order
  uint64_t choices_ = 0;      // admissions of new requests
};

}  // namespace fathom
