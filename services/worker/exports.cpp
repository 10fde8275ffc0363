#include <algorithm>
#include <atomic>
#include <string>

#include "worker/transfer.h"

namespace fathom {

struct Exports::Watch {
  Ticket ticket;
  int32_t tokens = 0;
  Watcher call;
  Instant deadline;
  std::atomic<bool> ended = false;  // the peer's handle is gone, or it was told so
  std::mutex calling;  // keeps the calls to one peer in order; held by nobody who waits for us
  int32_t told = -1;   // blocks it knows of
};

struct Exports::Export {
  SeqId seq;
  uint64_t key = 0;
  std::vector<BlockIndex> blocks;
  int32_t tokens = 0;    // positions there will be
  int32_t computed = 0;  // positions there are
  mutable int32_t readers = 0;
  bool closing = false;
  std::vector<WatchPtr> watches;
};

Exports::Exports(const Engine& engine, const Clock& clock, const ExportsConfig& config,
                 WorkerMetrics& metrics, std::function<void()> waiting)
    : engine_(engine),
      clock_(clock),
      config_(config),
      metrics_(metrics),
      waiting_changed_(std::move(waiting)) {}

Exports::~Exports() = default;

Status Exports::fits(const Export& open, const Watch& watch) {
  if (watch.ticket.key != open.key)
    return Error{Code::permission_denied, "the ticket's key does not open this sequence", "key"};
  if (watch.tokens != open.tokens)
    return Error{Code::invalid_argument,
                 "the sequence has " + std::to_string(open.tokens) + " positions to give, " +
                     std::to_string(watch.tokens) + " were asked for",
                 "tokens"};
  return {};
}

void Exports::tell(int32_t computed, int32_t block_tokens, Watch& watch) {
  const int32_t wanted = blocks_for(watch.tokens, block_tokens);
  // The last block may be partial: it is complete with the last position that was asked for.
  const int32_t complete = computed >= watch.tokens ? wanted : computed / block_tokens;
  const std::lock_guard calling(watch.calling);
  if (watch.ended || complete <= watch.told) return;
  watch.told = complete;
  watch.call.ready(complete, complete == wanted);
}

void Exports::end(Watch& watch, const Error& why) {
  const std::lock_guard calling(watch.calling);
  if (!watch.ended.exchange(true)) watch.call.gone(why);
}

void Exports::open(SeqId seq, uint64_t key, std::span<const BlockIndex> blocks, int32_t tokens) {
  std::vector<WatchPtr> waited;
  std::vector<std::pair<WatchPtr, Error>> refused;
  {
    const std::lock_guard lock(mutex_);
    auto entry = std::make_unique<Export>();
    entry->seq = seq;
    entry->key = key;
    entry->blocks.assign(blocks.begin(), blocks.end());
    entry->tokens = tokens;
    for (WatchPtr& watch : waiting_) {
      if (watch->ticket.seq != seq) continue;
      if (const Status fit = fits(*entry, *watch); fit.ok())
        entry->watches.push_back(watch);
      else
        refused.emplace_back(watch, fit.error());
    }
    std::erase_if(waiting_, [&](const WatchPtr& watch) { return watch->ticket.seq == seq; });
    waited = entry->watches;
    open_[seq] = std::move(entry);
  }
  for (const auto& [watch, why] : refused) end(*watch, why);
  for (const WatchPtr& watch : waited) tell(0, engine_.info().kv.block_tokens, *watch);
}

void Exports::progress(SeqId seq, int32_t computed, std::span<const BlockIndex> blocks) {
  std::vector<WatchPtr> watches;
  {
    const std::lock_guard lock(mutex_);
    const auto at = open_.find(seq);
    if (at == open_.end()) return;
    at->second->computed = computed;
    at->second->blocks.assign(blocks.begin(), blocks.end());
    std::erase_if(at->second->watches, [](const WatchPtr& watch) { return watch->ended.load(); });
    watches = at->second->watches;
  }
  for (const WatchPtr& watch : watches) tell(computed, engine_.info().kv.block_tokens, *watch);
}

void Exports::close(SeqId seq, const Error& why) {
  std::unique_ptr<Export> closed;
  {
    std::unique_lock lock(mutex_);
    const auto at = open_.find(seq);
    if (at == open_.end()) return;
    at->second->closing = true;  // no new copy begins
    readers_left_.wait(lock, [&] { return at->second->readers == 0; });
    closed = std::move(at->second);
    open_.erase(at);
  }
  for (const WatchPtr& watch : closed->watches) end(*watch, why);
}

void Exports::refuse_waiting(const Error& why) {
  std::vector<WatchPtr> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting.swap(waiting_);
  }
  for (const WatchPtr& watch : waiting) end(*watch, why);
}

void Exports::expire() {
  std::vector<WatchPtr> late;
  {
    const std::lock_guard lock(mutex_);
    const Instant now = clock_.now();
    std::erase_if(waiting_, [&](const WatchPtr& watch) {
      if (watch->deadline <= now) late.push_back(watch);
      return watch->ended || watch->deadline <= now;
    });
  }
  for (const WatchPtr& watch : late)
    end(*watch, {Code::not_found, "no such sequence came within the ticket's patience", "seq"});
}

Instant Exports::next_deadline() const {
  const std::lock_guard lock(mutex_);
  Instant next = kNever;
  for (const WatchPtr& watch : waiting_) next = std::min(next, watch->deadline);
  return next;
}

std::shared_ptr<void> Exports::watch(const Ticket& ticket, int32_t tokens, Watcher watcher) {
  auto watch = std::make_shared<Watch>();
  watch->ticket = ticket;
  watch->tokens = tokens;
  watch->call = std::move(watcher);
  watch->deadline = clock_.now() + config_.patience;
  // Dropping the handle only marks the watch, so a peer may do it from inside a call; lists forget
  // it later.
  std::shared_ptr<void> handle(nullptr, [watch](void*) { watch->ended = true; });
  if (ticket.instance != config_.instance) {
    end(*watch, {Code::not_found, "the ticket is for another start of this worker", "instance"});
    return handle;
  }
  int32_t computed = -1;
  Status fit;
  {
    const std::lock_guard lock(mutex_);
    const auto at = open_.find(ticket.seq);
    if (at == open_.end()) {
      waiting_.push_back(watch);
    } else if (fit = fits(*at->second, *watch); fit.ok()) {
      at->second->watches.push_back(watch);
      computed = at->second->computed;
    }
  }
  if (!fit.ok())
    end(*watch, fit.error());
  else if (computed >= 0)
    tell(computed, engine_.info().kv.block_tokens, *watch);
  else
    waiting_changed_();
  return handle;
}

bool Exports::copy(SeqId seq, int32_t ordinal, std::span<std::byte> out) const {
  const Instant began = clock_.now();
  const Export* source = nullptr;
  BlockIndex block = -1;
  {
    const std::lock_guard lock(mutex_);
    const auto at = open_.find(seq);
    if (at == open_.end() || at->second->closing) return false;
    source = at->second.get();
    const int32_t block_tokens = engine_.info().kv.block_tokens;
    const int32_t complete = source->computed >= source->tokens
                                 ? blocks_for(source->tokens, block_tokens)
                                 : source->computed / block_tokens;
    if (ordinal < 0 || ordinal >= complete) return false;
    block = source->blocks[static_cast<size_t>(ordinal)];
    ++source->readers;
  }
  const Status copied = engine_.export_block(block, out);  // outside of the lock; close() waits
  {
    const std::lock_guard lock(mutex_);
    if (--source->readers == 0) readers_left_.notify_all();
  }
  // A device that fails here fails the next step too, and the worker with it.
  if (!copied.ok()) return false;
  metrics_.sent_bytes.Increment(static_cast<double>(out.size()));
  metrics_.sent_seconds.Observe((clock_.now() - began).to_seconds());
  return true;
}

}  // namespace fathom
