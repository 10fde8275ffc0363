#include "gateway/dispatch.h"

#include <algorithm>

#include "process/log.h"

namespace fathom {

struct DispatchEntry {
  Submit submit;  // tokens grow as they are emitted
  TokenSink* sink = nullptr;
  Instant deadline = kNever;
  uint64_t epoch = 0;           // the stream it was sent on; 0: none that lives
  bool unsure = false;          // the stream changed while it was sent: perhaps the new one has it
  Instant lost_since = kNever;  // no router works on it since then
  bool resubmitted = false;
  int32_t scored = 0;       // prompt log-probabilities handed over
  int32_t scored_seen = 0;  // of those this router sent
  int32_t emitted() const {
    return static_cast<int32_t>(submit.tokens.size()) - submit.prompt_tokens;
  }
};

namespace {

constexpr Duration kSweepEvery = Duration::ms(100);

RequestId id_of(const FromRouter& event) {
  if (const auto* tokens = std::get_if<Tokens>(&event)) return tokens->id;
  if (const auto* finished = std::get_if<Finished>(&event)) return finished->id;
  return {};
}

bool worth_another_try(const Finished& finished) {
  return finished.finish == Finish::failed && (finished.error.code == Code::unavailable ||
                                               finished.error.code == Code::resource_exhausted);
}

// A router that was given emitted tokens may tell some of them again.
void drop_known(Tokens& tokens, int32_t emitted) {
  const auto known =
      static_cast<size_t>(std::min<int64_t>(emitted - tokens.first, std::ssize(tokens.tokens)));
  tokens.tokens.erase(tokens.tokens.begin(), tokens.tokens.begin() + static_cast<ptrdiff_t>(known));
  if (!tokens.logprobs.empty())
    tokens.logprobs.erase(tokens.logprobs.begin(),
                          tokens.logprobs.begin() + static_cast<ptrdiff_t>(known));
  tokens.first += static_cast<int32_t>(known);
}

}  // namespace

Dispatch::Dispatch(const DispatchConfig& config, HttpThreads& threads, const Clock& clock,
                   GatewayMetrics& metrics)
    : config_(config), threads_(threads), clock_(clock), metrics_(metrics) {
  for (int thread = 0; thread < threads.count(); ++thread) {
    shards_.push_back(std::make_unique<Shard>());
    shards_.back()->sweep = threads.timer(thread, [this, thread] { sweep(thread); });
  }
}

Dispatch::~Dispatch() = default;

// The loop is in the id, so events find their way without a lock.
RequestId Dispatch::next_id(int thread) {
  const auto count = static_cast<uint64_t>(threads_.count());
  return {++shard(thread).submitted * count + static_cast<uint64_t>(thread)};
}

Result<DispatchEntry*> Dispatch::submit(int thread, Submit submit, TokenSink& sink) {
  RouterLink* link = link_;
  if (!connected_ || link == nullptr)
    return Error{Code::unavailable, "the router is not connected", ""};
  if (pending_ >= config_.pending_max)
    return Error{Code::resource_exhausted, "too many requests in flight", ""};
  auto entry = std::make_unique<DispatchEntry>();
  submit.id = next_id(thread);
  entry->epoch = epoch_;
  entry->submit = std::move(submit);
  entry->sink = &sink;
  if (entry->submit.time_left.ns != INT64_MAX)
    entry->deadline = clock_.now() + entry->submit.time_left;
  std::vector<ToRouter> message;
  message.emplace_back(entry->submit);
  FATHOM_CHECKED(link->send(std::move(message)));
  entry->unsure = entry->epoch != epoch_;
  DispatchEntry* out = entry.get();
  shard(thread).entries.emplace(out->submit.id, std::move(entry));
  metrics_.pending.Set(++pending_);
  return out;
}

void Dispatch::cancel(int thread, DispatchEntry* entry) {
  const RequestId id = entry->submit.id;
  const bool lost = entry->lost_since != kNever;
  shard(thread).entries.erase(id);
  metrics_.pending.Set(--pending_);
  if (!lost) send_cancel(thread, id);
}

void Dispatch::send_cancel(int thread, RequestId id) {
  RouterLink* link = link_;
  if (link == nullptr) return;
  std::vector<ToRouter> message;
  message.emplace_back(Cancel{id});
  const Status sent = link->send(std::move(message));
  if (sent.ok() || sent.error().code != Code::resource_exhausted) return;
  shard(thread).uncancelled.push_back(id);
  sweep_soon(thread);
}

ClusterState Dispatch::cluster() const {
  const std::lock_guard lock(cluster_mutex_);
  return cluster_;
}

void Dispatch::on_events(std::vector<FromRouter> events) {
  const auto count = static_cast<size_t>(threads_.count());
  const Instant arrived = clock_.now();
  bool recovered = false;
  std::vector<std::vector<FromRouter>> by_thread(count);
  for (FromRouter& event : events) {
    if (auto* state = std::get_if<ClusterState>(&event)) {
      recovered = state->ready && connected_ && recovering_.exchange(false);
      metrics_.cluster(*state);
      const std::lock_guard lock(cluster_mutex_);
      cluster_ = std::move(*state);
    } else {
      by_thread[id_of(event).value % count].push_back(std::move(event));
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const int thread = static_cast<int>(i);
    if (by_thread[i].empty() && !recovered) continue;
    threads_.post(thread,
                  [this, thread, recovered, arrived, batch = std::move(by_thread[i])]() mutable {
                    deliver(thread, batch, arrived);
                    if (recovered) resubmit(thread);
                  });
  }
}

void Dispatch::on_router_lost(const Error& why) {
  log_warning("router lost", {{"why", why.text()}});
  connected_ = false;
  recovering_ = true;
  metrics_.router_connected.Set(0);
  metrics_.router_lost.Increment();
  {
    const std::lock_guard lock(cluster_mutex_);
    cluster_.ready = false;
  }
  const uint64_t epoch = epoch_;
  for (int thread = 0; thread < threads_.count(); ++thread)
    threads_.post(thread, [this, thread, epoch] { lose(thread, epoch); });
}

void Dispatch::on_router_connected() {
  log_info("router connected");
  ++epoch_;
  connected_ = true;
  metrics_.router_connected.Set(1);
}

void Dispatch::deliver(int thread, std::vector<FromRouter>& events, Instant arrived) {
  for (FromRouter& event : events) {
    if (auto* tokens = std::get_if<Tokens>(&event))
      deliver_tokens(thread, std::move(*tokens), arrived);
    if (auto* finished = std::get_if<Finished>(&event)) deliver_finished(thread, *finished);
  }
}

void Dispatch::deliver_tokens(int thread, Tokens tokens, Instant arrived) {
  const auto found = shard(thread).entries.find(tokens.id);
  if (found == shard(thread).entries.end()) return;  // cancelled meanwhile
  DispatchEntry& entry = *found->second;
  const auto fail = [&](const char* why) {
    log_error("router broke the order of tokens", {{"trace", entry.submit.trace}, {"why", why}});
    send_cancel(thread, tokens.id);
    end(thread, tokens.id, {.id = tokens.id, .error = {Code::data_loss, why, ""}});
  };
  if (tokens.first < entry.emitted() && !tokens.tokens.empty()) drop_known(tokens, entry.emitted());
  if (!tokens.tokens.empty() && tokens.first != entry.emitted()) return fail("tokens are missing");
  if (entry.submit.sampling.logprobs >= 0 && tokens.logprobs.size() != tokens.tokens.size())
    return fail("log-probabilities are missing");
  // After a resubmission the prompt may be scored again from its beginning.
  const auto scores = static_cast<int32_t>(tokens.prompt_logprobs.size());
  const int32_t again = std::clamp(entry.scored - entry.scored_seen, 0, scores);
  tokens.prompt_logprobs.erase(tokens.prompt_logprobs.begin(),
                               tokens.prompt_logprobs.begin() + again);
  entry.scored_seen += scores;
  entry.scored = std::max(entry.scored, entry.scored_seen);
  entry.submit.tokens.insert(entry.submit.tokens.end(), tokens.tokens.begin(), tokens.tokens.end());
  entry.lost_since = kNever;
  TokenSink* sink = entry.sink;
  if (tokens.finish != Finish::none) {
    shard(thread).entries.erase(found);
    metrics_.pending.Set(--pending_);
  }
  sink->on_tokens(std::move(tokens), arrived);
}

void Dispatch::deliver_finished(int thread, const Finished& finished) {
  const auto found = shard(thread).entries.find(finished.id);
  if (found == shard(thread).entries.end()) return;
  DispatchEntry& entry = *found->second;
  // A new router that has no room yet does not end what an old one began.
  if (entry.resubmitted && worth_another_try(finished) && entry.lost_since != kNever) {
    entry.epoch = 0;
    sweep_soon(thread);
    return;
  }
  end(thread, finished.id, finished);
}

void Dispatch::end(int thread, RequestId id, const Finished& finished) {
  const auto found = shard(thread).entries.find(id);
  if (found == shard(thread).entries.end()) return;
  TokenSink* sink = found->second->sink;
  shard(thread).entries.erase(found);
  metrics_.pending.Set(--pending_);
  sink->on_finished(finished);
}

void Dispatch::lose(int thread, uint64_t epoch) {
  const Instant now = clock_.now();
  for (auto& [id, entry] : shard(thread).entries) {
    if (entry->epoch > epoch) continue;
    entry->epoch = 0;
    if (entry->lost_since == kNever) entry->lost_since = now;
  }
  shard(thread).uncancelled.clear();
  sweep_soon(thread);
}

// Continues on the present router what no router works on: the prompt and what was emitted, under a
// new id.
void Dispatch::resubmit(int thread) {
  RouterLink* link = link_;
  if (link == nullptr || !connected_ || !cluster().ready) return;
  auto& entries = shard(thread).entries;
  std::vector<std::unique_ptr<DispatchEntry>> again;
  for (auto it = entries.begin(); it != entries.end();) {
    if (it->second->epoch != 0) {
      ++it;
      continue;
    }
    again.push_back(std::move(it->second));
    it = entries.erase(it);
  }
  const Instant now = clock_.now();
  for (auto& entry : again) {
    std::vector<ToRouter> messages;
    if (entry->unsure) messages.emplace_back(Cancel{entry->submit.id});
    entry->submit.id = next_id(thread);
    if (entry->deadline != kNever) entry->submit.time_left = entry->deadline - now;
    messages.emplace_back(entry->submit);
    const uint64_t epoch = epoch_;
    const bool sent = link->send(std::move(messages)).ok();
    entry->epoch = sent ? epoch : 0;
    entry->unsure = sent && epoch != epoch_;
    entry->resubmitted = true;
    entry->scored_seen = 0;
    if (sent) metrics_.resubmitted.Increment();
    entries.emplace(entry->submit.id, std::move(entry));
  }
}

void Dispatch::sweep_soon(int thread) {
  Shard& mine = shard(thread);
  if (mine.sweeping) return;
  mine.sweeping = true;
  mine.sweep->after(kSweepEvery);
}

// While something is amiss: tries again, and gives up on what waited too long.
void Dispatch::sweep(int thread) {
  Shard& mine = shard(thread);
  mine.sweeping = false;
  for (const RequestId id : std::exchange(mine.uncancelled, {})) send_cancel(thread, id);
  resubmit(thread);
  const Instant now = clock_.now();
  std::vector<RequestId> waiting;
  for (const auto& [id, entry] : mine.entries)
    if (entry->lost_since != kNever) waiting.push_back(id);
  for (const RequestId id : waiting) {
    const auto found = mine.entries.find(id);
    if (found == mine.entries.end()) continue;
    const DispatchEntry& entry = *found->second;
    const bool late = now >= entry.deadline;
    if (!late && now - entry.lost_since < config_.router_patience) continue;
    if (entry.epoch != 0) send_cancel(thread, id);
    end(thread, id,
        {.id = id,
         .error = {late ? Code::deadline_exceeded : Code::unavailable,
                   "the router did not come back in time", ""}});
  }
  if (!waiting.empty() || !mine.uncancelled.empty()) sweep_soon(thread);
}

}  // namespace fathom
