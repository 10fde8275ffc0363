#include "router/brain.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "process/log.h"

namespace fathom {
namespace {

// What gateways act on at once; the rest is load, told at intervals.
bool same_service(const ClusterState& a, const ClusterState& b) {
  return a.ready == b.ready && a.model == b.model && a.model_digest == b.model_digest &&
         a.context_max == b.context_max && a.vocab == b.vocab &&
         a.prefill_workers == b.prefill_workers && a.decode_workers == b.decode_workers;
}

const char* role_name(Role role) {
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

Brain::Brain(const BatcherConfig& config, const BrainTimes& times, BrainPorts ports)
    : ports_(std::move(ports)),
      times_(times),
      queue_max_(config.queue_max),
      batcher_(config),
      // The epoch is the time at which the process started.
      observer_(static_cast<int64_t>(config.epoch), ports_.clock.now()),
      thread_([this] { run(); }) {}

Brain::~Brain() {
  ports_.inbox.stop();
  thread_.join();
}

ClusterState Brain::cluster() const {
  std::lock_guard lock(state_mutex_);
  return cluster_;
}

bool Brain::wait_idle(Duration patience) {
  std::unique_lock lock(state_mutex_);
  return idle_changed_.wait_for(lock, std::chrono::nanoseconds(std::max<int64_t>(patience.ns, 0)),
                                [this] { return idle_; });
}

void Brain::run() {
  std::vector<News> news;
  Duration patience{INT64_MAX};
  while (ports_.inbox.take(news, patience)) {
    now_ = ports_.clock.now();
    observer_.advance(now_, batcher_);
    for (News& item : news) hear(item);
    decide();
    const Instant done = ports_.clock.now();
    ports_.metrics.tick_seconds.Observe((done - now_).to_seconds());
    patience = wake_ == kNever ? Duration{INT64_MAX} : wake_ - done;
  }
}

void Brain::hear(News& news) {
  std::visit([this](auto& item) { hear(item); }, news);
}

void Brain::hear(GatewayUp& news) {
  gateways_.insert(news.gateway);
  ports_.metrics.gateways.Set(static_cast<double>(gateways_.size()));
  log_info("gateway joined", {{"gateway", news.name}, {"id", news.gateway.value}});
  observer_.gateway_up(news.gateway, news.name, now_);
  newcomers_.push_back(news.gateway);
}

void Brain::hear(GatewayMessages& news) {
  if (!gateways_.contains(news.gateway)) return;
  for (ToRouter& message : news.messages) {
    if (auto* submit = std::get_if<Submit>(&message))
      batcher_.submit(news.gateway, std::move(*submit), now_);
    else
      batcher_.cancel(news.gateway, std::get<Cancel>(message).id);
  }
}

void Brain::hear(GatewayDown& news) {
  gateways_.erase(news.gateway);
  ports_.metrics.gateways.Set(static_cast<double>(gateways_.size()));
  log_info("gateway left", {{"id", news.gateway.value}});
  observer_.gateway_down(news.gateway, now_);
  batcher_.gateway_down(news.gateway);
}

void Brain::hear(WorkerReport& news) {
  if (news.report.welcome) welcome(news.worker, news.address, *news.report.welcome);
  const auto it = workers_.find(news.worker);
  if (it == workers_.end() || !it->second.accepted) return;
  ports_.metrics.step(news.address, news.report);
  observer_.step(news.worker, news.report, now_);
  batcher_.report(news.worker, news.report, now_);
}

void Brain::welcome(WorkerId worker, const std::string& address, const Welcome& welcome) {
  const Status status = batcher_.worker_up(worker, welcome);
  workers_[worker] = {address, status.ok()};
  if (!status.ok()) {
    observer_.worker_refused(address, status.error().text(), now_);
    return ports_.workers.disconnect(worker, status.error());
  }
  complaints_.erase(address);
  ports_.metrics.worker_up(address, welcome);
  observer_.worker_up(worker, address, welcome, now_);
  log_info("worker joined", {{"worker", address},
                             {"id", worker.value},
                             {"role", role_name(welcome.role)},
                             {"model", welcome.model},
                             {"blocks", welcome.blocks},
                             {"context_max", welcome.context_max}});
}

void Brain::hear(WorkerDown& news) {
  // A worker that is away is tried again every 2 s; that is said once, and again when the reason is
  // another.
  if (std::string& last = complaints_[news.address]; last != news.why.text()) {
    last = news.why.text();
    log_warning("worker is not available", {{"worker", news.address}, {"why", last}});
  }
  observer_.worker_down(news.worker, news.address, news.why.text(), now_);
  const auto it = workers_.find(news.worker);
  if (it == workers_.end()) return;
  if (it->second.accepted) {
    batcher_.worker_down(news.worker);
    ports_.metrics.worker_down(news.address);
  }
  workers_.erase(it);
}

void Brain::hear(WatcherUp& news) {
  WatchFrom& from = watchers_[news.watcher] = news.from;
  tell(news.watcher, from);
}

void Brain::hear(WatcherDown& news) { watchers_.erase(news.watcher); }

void Brain::hear(DrainNow&) {
  log_info("draining");
  observer_.draining(now_);
  batcher_.drain();
}

void Brain::decide() {
  Decisions decisions = batcher_.tick(now_);
  for (const StalledWorker& stalled : decisions.stalled) give_up(stalled);
  for (auto& [worker, edits] : decisions.edits) ports_.workers.send(worker, std::move(edits));
  wake_ = decisions.wake;
  tell_state();  // before the events: it is the first that a gateway hears
  send(std::move(decisions.events));
  for (const RequestTrace& trace : batcher_.take_traces()) {
    ports_.metrics.ended(trace);
    observer_.ended(trace);
  }
  for (const Incident& incident : batcher_.take_incidents()) observer_.incident(incident);
  tell_watchers();
}

// The end of its stream is the news that everybody hears.
void Brain::give_up(const StalledWorker& stalled) {
  ports_.metrics.worker_stalled(workers_.at(stalled.worker).address);
  char text[96];
  std::snprintf(text, sizeof text, "reported no step for %.1f s while sequences waited for one",
                stalled.silent.to_seconds());
  ports_.workers.disconnect(stalled.worker, {Code::deadline_exceeded, text, "step"});
}

// Right after a second has ended, so that each view brings one more.
void Brain::tell_watchers() {
  if (watchers_.empty()) {
    watch_at_ = kNever;
    return;
  }
  if (watch_at_ == kNever || now_ >= watch_at_) {
    const bool due = watch_at_ != kNever;
    const Duration beyond_second{times_.watch_interval.ns - Duration::seconds(1).ns};
    watch_at_ = beyond_second.ns >= 0 ? observer_.second_end() + beyond_second
                                      : now_ + times_.watch_interval;
    if (due)
      for (auto& [watcher, from] : watchers_) tell(watcher, from);
  }
  wake_ = std::min(wake_, watch_at_);
}

void Brain::tell(WatcherId watcher, WatchFrom& from) {
  ClusterUpdate update = observer_.update(from, batcher_, queue_max_, now_);
  if (!update.seconds.empty()) from.second = update.seconds.back().number;
  if (!update.happenings.empty()) from.happening = update.happenings.back().number;
  ports_.watchers.send(watcher, std::move(update));
}

void Brain::send(std::vector<std::pair<GatewayId, FromRouter>> events) {
  // Usually one gateway, and a handful at most.
  std::map<GatewayId, std::vector<FromRouter>> sorted;
  size_t generated = 0;
  for (auto& [gateway, event] : events) {
    if (const auto* tokens = std::get_if<Tokens>(&event)) generated += tokens->tokens.size();
    sorted[gateway].push_back(std::move(event));
  }
  ports_.metrics.generated_tokens.Increment(static_cast<double>(generated));
  observer_.sent(static_cast<int64_t>(generated));
  for (auto& [gateway, batch] : sorted) ports_.gateways.send(gateway, std::move(batch));
}

void Brain::tell_state() {
  const ClusterState state = batcher_.cluster();
  ports_.metrics.levels(batcher_.stats(), state);
  bool ready_changed = false;
  {
    std::lock_guard lock(state_mutex_);
    ready_changed = state.ready != cluster_.ready;
    cluster_ = state;
    idle_ = batcher_.idle();
    if (idle_) idle_changed_.notify_all();
  }
  if (ready_changed) ports_.on_ready(state.ready);
  for (const GatewayId gateway : newcomers_) ports_.gateways.send(gateway, {state});
  newcomers_.clear();
  if (state == told_) return;
  if (same_service(state, told_) && now_ < told_at_ + times_.state_interval) {
    wake_ = std::min(wake_, told_at_ + times_.state_interval);
    return;
  }
  told_ = state;
  told_at_ = now_;
  for (const GatewayId gateway : gateways_) ports_.gateways.send(gateway, {state});
}

}  // namespace fathom
