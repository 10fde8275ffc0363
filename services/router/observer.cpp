#include "router/observer.h"

#include <algorithm>

#include "router/outcome.h"

namespace fathom {
namespace {

// A worker that is away and of which nothing was heard for so long has another address now.
constexpr Duration kForgetAfter = Duration::seconds(600);
// Ids of connections that ended, kept for incidents that still name them.
constexpr size_t kAddressesKept = 4096;

const char* name_of(Role role) {
  switch (role) {
    case Role::prefill:
      return "prefill";
    case Role::decode:
      return "decode";
    case Role::both:
      return "both";
  }
  return "";
}

}  // namespace

Observer::Observer(int64_t unix_ns, Instant start)
    : unix_ns_(unix_ns), start_(start), number_(unix_ns / kSecondNs) {
  note(start, {.kind = HappeningKind::router_started, .text = "the router started"});
}

void Observer::advance(Instant now, const Batcher& batcher) {
  const int64_t present = unix_ns(now) / kSecondNs;
  if (present <= number_) return;
  const BatcherStats stats = batcher.stats();
  close_second(stats, batcher);
  // Nothing happened in the seconds that nobody woke us for, and the levels stood still.
  number_ = std::max(number_, present - kWatchedSeconds);
  while (number_ < present) close_second(stats, batcher);
  forget_strangers(now);
}

void Observer::close_second(const BatcherStats& stats, const Batcher& batcher) {
  WatchedSecond second = running_;
  second.number = number_;
  second.waiting = stats.waiting;
  second.running = stats.running;
  second.moving = stats.moving;
  second.prefilling = stats.prefilling;
  second.decoding = stats.decoding;
  second.blocks = stats.blocks_capacity;
  second.blocks_reserved = stats.blocks_reserved;
  second.arrived = static_cast<int64_t>(stats.arrived - told_.arrived);
  second.admitted = static_cast<int64_t>(stats.admitted - told_.admitted);
  const auto refused = static_cast<int64_t>(stats.refused - told_.refused);
  second.ended[static_cast<size_t>(Outcome::refused)] += refused;
  second.moves = static_cast<int64_t>(stats.moves - told_.moves);
  second.preemptions = static_cast<int64_t>(stats.preemptions - told_.preemptions);
  second.recoveries = static_cast<int64_t>(stats.recoveries - told_.recoveries);
  for (auto& [address, worker] : workers_) {
    second.workers_up +=
        worker.phase() == WorkerPhase::up || worker.phase() == WorkerPhase::draining;
    worker.close_second();
  }
  history_.close(second, batcher.latencies());
  if (refused > 0) happenings_.tally(HappeningKind::refused, {}, {}, refused);
  ++number_;
  happenings_.close_second(number_ * kSecondNs / 1000);
  running_ = {};
  told_ = stats;
}

void Observer::forget_strangers(Instant now) {
  std::erase_if(workers_, [&](const auto& entry) {
    const WorkerWatch& worker = entry.second;
    const bool away =
        worker.phase() == WorkerPhase::down || worker.phase() == WorkerPhase::connecting;
    return away && now - worker.heard() > kForgetAfter;
  });
  while (addresses_.size() > kAddressesKept) addresses_.erase(addresses_.begin());
}

WorkerWatch& Observer::watch(const std::string& address, Instant now) {
  return workers_.try_emplace(address, address, now).first->second;
}

const std::string& Observer::address(WorkerId worker) const {
  static const std::string kNone;
  const auto found = addresses_.find(worker);
  return found == addresses_.end() ? kNone : found->second;
}

void Observer::worker_up(WorkerId worker, const std::string& address, const Welcome& welcome,
                         Instant now) {
  watch(address, now).up(welcome, now);
  addresses_[worker] = address;
  note(now, {.kind = HappeningKind::worker_up,
             .worker = address,
             .text = std::string("joined as ") + name_of(welcome.role) + ", " +
                     std::to_string(welcome.blocks) + " KV blocks, tensor parallel " +
                     std::to_string(welcome.tensor_parallel)});
}

void Observer::worker_refused(const std::string& address, const std::string& why, Instant now) {
  if (watch(address, now).down(why, now))
    note(now, {.kind = HappeningKind::worker_refused, .worker = address, .text = why});
}

void Observer::worker_down(WorkerId worker, const std::string& address, const std::string& why,
                           Instant now) {
  WorkerWatch& watched = watch(address, now);
  const bool known = addresses_.contains(worker);
  if (watched.down(why, now) && known)
    note(now, {.kind = HappeningKind::worker_down, .worker = address, .text = why});
}

void Observer::step(WorkerId worker, const Report& report, Instant now) {
  const auto found = workers_.find(address(worker));
  if (found == workers_.end()) return;
  const WorkerWatch::StepCount count = WorkerWatch::count_of(report);
  running_.prompt_tokens += count.prompt;
  running_.cached_tokens += count.cached;
  if (found->second.step(report, count, now))
    note(now, {.kind = HappeningKind::worker_draining,
               .worker = found->first,
               .text = "finishes what runs there and takes nothing new"});
}

void Observer::gateway_up(GatewayId gateway, const std::string& name, Instant now) {
  gateways_[gateway] = name;
  note(now, {.kind = HappeningKind::gateway_up, .text = "gateway " + name + " connected"});
}

void Observer::gateway_down(GatewayId gateway, Instant now) {
  const auto found = gateways_.find(gateway);
  if (found == gateways_.end()) return;
  note(now, {.kind = HappeningKind::gateway_down, .text = "gateway " + found->second + " left"});
  gateways_.erase(found);
}

void Observer::draining(Instant now) {
  draining_ = true;
  note(now, {.kind = HappeningKind::router_draining,
             .text = "the router finishes what runs and takes nothing new"});
}

void Observer::incident(const Incident& incident) {
  static constexpr std::array kKinds = {HappeningKind::moved, HappeningKind::transfer_failed,
                                        HappeningKind::recovered, HappeningKind::preempted};
  const bool moved =
      incident.kind == Incident::Kind::moved || incident.kind == Incident::Kind::transfer_failed;
  happenings_.tally(kKinds[static_cast<size_t>(incident.kind)], address(incident.worker),
                    moved ? address(incident.peer) : std::string());
}

void Observer::ended(const RequestTrace& trace) {
  ++running_.ended[static_cast<size_t>(outcome_of(trace))];
}

ClusterUpdate Observer::update(const WatchFrom& from, const Batcher& batcher, int32_t queue_max,
                               Instant now) const {
  const ClusterState cluster = batcher.cluster();
  ClusterUpdate out{.seconds = history_.since(from.second),
                    .happenings = happenings_.since(from.happening)};
  out.view = {.time = static_cast<double>(unix_ns(now)) * 1e-9,
              .started = static_cast<double>(unix_ns_) * 1e-9,
              .model = cluster.model,
              .ready = cluster.ready,
              .draining = draining_,
              .gateways = static_cast<int32_t>(gateways_.size()),
              .queue_max = queue_max,
              .latencies = history_.minute(batcher.latencies())};
  std::map<std::string, WorkerLoad> loads;
  for (const WorkerLoad& load : batcher.loads()) loads[address(load.worker)] = load;
  for (const auto& [address, worker] : workers_) {
    const auto load = loads.find(address);
    out.view.workers.push_back(worker.view(now, load == loads.end() ? nullptr : &load->second));
  }
  return out;
}

}  // namespace fathom
