// How do KV blocks leave and enter a worker while it computes? Exports is the sending half: peers
// watch a handoff sequence and copy its blocks as they become complete, a partial last block when
// the prompt is. Imports is the receiving half: one fetch per receiving sequence, written straight
// into its blocks. Both are shared between the loop's thread and gRPC's. Invariant: no block is
// freed while a copy of it runs, nor while a fetch may write it: `close` and `cancel` return only
// after the last reader or writer is out.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "contract/drive.h"
#include "engine/engine.h"
#include "net/fetch.h"
#include "worker/metrics.h"

namespace fathom {

struct ExportsConfig {
  uint64_t instance = 0;  // Welcome::instance; tickets for another one are refused
  Duration patience = Duration::seconds(10);  // that a ticket waits for its Prefill edit
};

class Exports final : public BlockSource {
 public:
  // `waiting` is called, without locks held, when a ticket begins to wait: ask next_deadline()
  // again.
  Exports(const Engine& engine, const Clock& clock, const ExportsConfig& config,
          WorkerMetrics& metrics, std::function<void()> waiting);
  ~Exports() override;

  // Called by the loop's thread.
  void open(SeqId seq, uint64_t key, std::span<const BlockIndex> blocks, int32_t tokens);
  // Positions whose KV is in place, in which blocks; those of complete ones never change.
  void progress(SeqId seq, int32_t computed, std::span<const BlockIndex> blocks);
  void close(SeqId seq, const Error& why);  // unknown ids are ignored
  void refuse_waiting(const Error& why);    // tickets that wait for a Prefill will not see it
  void expire();                            // refuses tickets that waited too long
  Instant next_deadline() const;            // when to call expire; kNever without waiting tickets

  // Called by gRPC's threads.
  std::shared_ptr<void> watch(const Ticket& ticket, int32_t tokens, Watcher watcher) override;
  bool copy(SeqId seq, int32_t ordinal, std::span<std::byte> out) const override;
  int64_t block_bytes() const override { return engine_.info().kv.block_bytes; }

 private:
  struct Watch;
  struct Export;
  using WatchPtr = std::shared_ptr<Watch>;

  // Both call out, so they run without mutex_ held.
  static void tell(int32_t computed, int32_t block_tokens, Watch& watch);
  static void end(Watch& watch, const Error& why);
  static Status fits(const Export& open, const Watch& watch);

  const Engine& engine_;
  const Clock& clock_;
  const ExportsConfig config_;
  WorkerMetrics& metrics_;
  const std::function<void()> waiting_changed_;
  mutable std::mutex mutex_;
  mutable std::condition_variable readers_left_;
  std::map<SeqId, std::unique_ptr<Export>> open_;
  std::vector<WatchPtr> waiting_;
};

// How a fetch ended. The ordinal tells a late message about a cancelled fetch from one about its
// successor.
struct FetchEnd {
  SeqId seq;
  uint64_t ordinal = 0;
  Status status;
};

class Imports {
 public:
  // `ended` runs on gRPC's threads and must not block.
  Imports(Engine& engine, Fetcher& fetcher, WorkerMetrics& metrics, const Clock& clock,
          std::function<void(FetchEnd)> ended);
  ~Imports();

  // All called by the loop's thread.
  void start(SeqId seq, const Ticket& ticket, int32_t tokens, std::span<const BlockIndex> blocks);
  void cancel(SeqId seq);  // unknown ids are ignored
  // True once for the fetch this message is about, which is then forgotten; false for a cancelled
  // one.
  bool take(const FetchEnd& end);

 private:
  struct Import;
  Engine& engine_;
  Fetcher& fetcher_;
  WorkerMetrics& metrics_;
  const Clock& clock_;
  const std::function<void(FetchEnd)> ended_;
  std::map<SeqId, std::unique_ptr<Import>> running_;
  uint64_t started_ = 0;
};

}  // namespace fathom
