#include "batching/waiting_queue.h"

#include <algorithm>
#include <utility>

namespace fathom {
namespace {

// Idle tenants are remembered only for what they were served lately; beyond so many all idle ones
// are forgotten, which gives each at most the service it is ahead of the least served.
constexpr size_t kTenantsMax = 65'536;
constexpr size_t kUsersMax = 1024;  // the same for the users of one tenant

Error full(std::string what, std::string field) {
  return {Code::resource_exhausted, std::move(what), std::move(field)};
}

}  // namespace

std::optional<Error> WaitingQueue::refusal(const std::string& tenant, int64_t tokens) const {
  if (static_cast<int64_t>(fresh_.size() + parked_.size()) >= limits_.requests_max) {
    return full("the queue is full: " + std::to_string(limits_.requests_max) + " requests wait",
                "queue_max");
  }
  if (fresh_tokens_ > 0 && fresh_tokens_ + tokens > limits_.tokens_max) {
    return full("the queue is full: " + std::to_string(fresh_tokens_) + " tokens wait",
                "queue_tokens_max");
  }
  const auto it = tenants_.find(tenant);
  if (it != tenants_.end() && static_cast<int64_t>(it->second.waiting.size()) + it->second.parked >=
                                  limits_.tenant_requests_max) {
    return full(
        "too many requests of this tenant wait: " + std::to_string(limits_.tenant_requests_max),
        "tenant_queue_max");
  }
  return std::nullopt;
}

void WaitingQueue::enter(Request& request, const std::string& name, const std::string& user) {
  if (tenants_.size() >= kTenantsMax) forget_idle();
  auto [it, created] = tenants_.try_emplace(name);
  Tenant& tenant = it->second;
  if (created) tenant.name = name;
  ++tenant.requests;
  request.tenant = &tenant;
  take_turn(request, user);
}

// A request starts where its user's last one ended, or now, whichever is later.
void WaitingQueue::take_turn(Request& request, const std::string& name) {
  Tenant& tenant = *request.tenant;
  if (tenant.users.size() >= kUsersMax)
    std::erase_if(tenant.users, [](const auto& entry) { return entry.second.requests == 0; });
  auto [it, created] = tenant.users.try_emplace(name);
  TenantUser& user = it->second;
  if (created) user.name = name;
  ++user.requests;
  request.user = &user;
  request.turn = std::max(tenant.turn, user.turn_after);
  if (!request.resumed) user.turn_after = request.turn + request.length();
}

void WaitingQueue::leave(Request& request) {
  Tenant& tenant = *request.tenant;
  TenantUser& user = *request.user;
  request.tenant = nullptr;
  request.user = nullptr;
  CHECK(tenant.requests > 0 && user.requests > 0);
  if (--user.requests == 0 && user.turn_after <= tenant.turn) tenant.users.erase(user.name);
  // One at the floor is like a new one.
  if (--tenant.requests == 0 && tenant.served <= served_floor_) tenants_.erase(tenant.name);
}

void WaitingQueue::forget_idle() {
  std::erase_if(tenants_, [](const auto& entry) { return entry.second.requests == 0; });
}

void WaitingQueue::list(Tenant& tenant) {
  tenant.listed_served = tenant.served;
  tenant.listed_arrival = tenant.waiting.begin()->first;
  order_.emplace(tenant.listed_served, tenant.listed_arrival, &tenant);
}

void WaitingQueue::unlist(Tenant& tenant) {
  const size_t erased = order_.erase({tenant.listed_served, tenant.listed_arrival, &tenant});
  CHECK(erased == 1);
}

// Output is charged without touching the order, which is a set: counters only grow, so the first
// entry that is up to date is the least.
void WaitingQueue::refresh_least() {
  while (!order_.empty()) {
    Tenant& tenant = *std::get<2>(*order_.begin());
    if (tenant.listed_served == tenant.served) return;
    unlist(tenant);
    list(tenant);
  }
}

void WaitingQueue::add(Request& request) {
  if (!request.resumed) fresh_tokens_ += request.length();
  attach(request);
}

void WaitingQueue::attach(Request& request) {
  const auto entry = std::make_pair(request.arrival, &request);
  if (request.resumed) {
    resumed_.insert(entry);
    return;
  }
  fresh_.insert(entry);
  Tenant& tenant = *request.tenant;
  if (tenant.waiting.empty()) {
    // The lift: who was away has no claim to what it did not use.
    refresh_least();
    const int64_t least = order_.empty() ? served_floor_ : std::get<0>(*order_.begin());
    tenant.served = std::max(tenant.served, least);
  } else {
    unlist(tenant);
  }
  tenant.waiting.insert(entry);
  tenant.turns.emplace(request.turn, request.arrival, &request);
  list(tenant);
}

void WaitingQueue::remove(Request& request) {
  if (!request.resumed) fresh_tokens_ -= request.length();
  detach(request);
}

void WaitingQueue::detach(Request& request) {
  const auto entry = std::make_pair(request.arrival, &request);
  if (request.parked) {
    CHECK(parked_.erase(entry) == 1);
    request.parked = false;
    if (!request.resumed) --request.tenant->parked;
    return;
  }
  if (request.resumed) {
    CHECK(resumed_.erase(entry) == 1);
    return;
  }
  CHECK(fresh_.erase(entry) == 1);
  Tenant& tenant = *request.tenant;
  unlist(tenant);
  tenant.waiting.erase(entry);
  CHECK(tenant.turns.erase({request.turn, request.arrival, &request}) == 1);
  if (!tenant.waiting.empty()) {
    list(tenant);
  } else {
    served_floor_ = std::max(served_floor_, tenant.served);
  }
}

void WaitingQueue::admitted(Request& request) {
  if (!request.resumed) {
    ++choices_;
    request.tenant->served += request.length();
    request.tenant->turn = std::max(request.tenant->turn, request.turn);
  }
  remove(request);
}

void WaitingQueue::park(Request& request) {
  detach(request);
  request.parked = true;
  if (!request.resumed) ++request.tenant->parked;
  parked_.emplace(request.arrival, &request);
}

void WaitingQueue::unpark_all() {
  const ByArrival parked = std::exchange(parked_, {});
  for (const auto& [arrival, request] : parked) {
    request->parked = false;
    if (!request->resumed) --request->tenant->parked;
    attach(*request);
  }
}

void WaitingQueue::candidates(size_t max, std::vector<Request*>& out) {
  out.clear();
  for (auto it = resumed_.begin(); it != resumed_.end() && out.size() < max; ++it) {
    out.push_back(it->second);
  }
  if (fresh_.empty()) return;
  refresh_least();
  Request* oldest = fresh_.begin()->second;
  const bool oldest_first = choices_ % kOldestEvery == kOldestEvery - 1;
  if (oldest_first && out.size() < max) out.push_back(oldest);
  for (auto tenant = order_.begin(); tenant != order_.end() && out.size() < max; ++tenant) {
    int taken = 0;
    for (const auto& [turn, arrival, request] : std::get<2>(*tenant)->turns) {
      if (taken++ == kPerTenant || out.size() >= max) break;
      if (!oldest_first || request != oldest) out.push_back(request);
    }
  }
}

void WaitingQueue::check_integrity() const {
  int64_t tokens = 0;
  for (const auto& [arrival, request] : fresh_) {
    CHECK(!request->placed() && !request->resumed && !request->parked);
    CHECK(request->arrival == arrival && request->tenant->waiting.count({arrival, request}) == 1);
    tokens += request->length();
  }
  for (const auto& [arrival, request] : parked_) {
    CHECK(!request->placed() && request->parked && request->arrival == arrival);
    if (!request->resumed) tokens += request->length();
  }
  CHECK(tokens == fresh_tokens_);
  CHECK(static_cast<int64_t>(fresh_.size()) <= limits_.requests_max);
  CHECK(fresh_.size() <= 1 || fresh_tokens_ <= limits_.tokens_max);
  size_t listed = 0;
  for (const auto& [name, tenant] : tenants_) {
    CHECK(tenant.parked >= 0);
    CHECK(tenant.turns.size() == tenant.waiting.size());
    CHECK(static_cast<int64_t>(tenant.waiting.size()) + tenant.parked <=
          limits_.tenant_requests_max);
    if (tenant.waiting.empty()) continue;
    listed += tenant.waiting.size();
    CHECK(order_.count(
              {tenant.listed_served, tenant.listed_arrival, const_cast<Tenant*>(&tenant)}) == 1);
    CHECK(tenant.listed_served <= tenant.served);
    CHECK(tenant.listed_arrival == tenant.waiting.begin()->first);
  }
  CHECK(listed == fresh_.size());
  for (const auto& [arrival, request] : resumed_) {
    CHECK(!request->placed() && request->resumed && request->arrival == arrival);
  }
}

}  // namespace fathom
