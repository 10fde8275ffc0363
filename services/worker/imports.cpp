#include <string>
#include <utility>

#include "worker/transfer.h"

namespace fathom {

// Shared with the fetch's callbacks, which the FetchCall stops before this is destroyed.
struct Imports::Import {
  uint64_t ordinal = 0;
  std::vector<BlockIndex> blocks;
  std::vector<bool> came;
  Instant began;
  std::mutex mutex;  // over `came`, `count` and `status`
  int32_t count = 0;
  Status status;  // the first thing that went wrong with a block
  std::unique_ptr<FetchCall> call;

  // One block, on a gRPC thread.
  Status accept(Engine& engine, int32_t index, std::span<const std::byte> bytes) {
    const auto i = static_cast<size_t>(index);
    if (index < 0 || i >= came.size())
      return Error{Code::data_loss, "block " + std::to_string(index) + " was not asked for",
                   "ordinal"};
    if (static_cast<int64_t>(bytes.size()) != engine.info().kv.block_bytes)
      return Error{Code::data_loss, "block " + std::to_string(index) + " has the wrong size",
                   "data"};
    {
      const std::lock_guard lock(mutex);
      if (came[i])
        return Error{Code::data_loss, "block " + std::to_string(index) + " came twice", "ordinal"};
      came[i] = true;
      ++count;
    }
    return engine.import_block(blocks[i], bytes);
  }
  void note(Status result) {
    const std::lock_guard lock(mutex);
    if (status.ok() && !result.ok()) status = std::move(result);
  }
  Status outcome(Status transport) {
    const std::lock_guard lock(mutex);
    if (!status.ok()) return status;
    // To the router a silent peer is a lost one: the request is computed again.
    if (!transport.ok() && transport.error().code == Code::deadline_exceeded)
      return Error{Code::unavailable, transport.error().message, transport.error().field};
    if (transport.ok() && static_cast<size_t>(count) != came.size())
      return Error{Code::data_loss,
                   std::to_string(count) + " of " + std::to_string(came.size()) + " blocks came",
                   "ordinal"};
    return transport;
  }
};

Imports::Imports(Engine& engine, Fetcher& fetcher, WorkerMetrics& metrics, const Clock& clock,
                 std::function<void(FetchEnd)> ended)
    : engine_(engine),
      fetcher_(fetcher),
      metrics_(metrics),
      clock_(clock),
      ended_(std::move(ended)) {}

Imports::~Imports() {
  for (auto& [seq, import] : running_) import->call.reset();
}

void Imports::start(SeqId seq, const Ticket& ticket, int32_t tokens,
                    std::span<const BlockIndex> blocks) {
  const auto wanted = static_cast<size_t>(blocks_for(tokens, engine_.info().kv.block_tokens));
  CHECK(wanted <= blocks.size(), "a fetch needs its blocks reserved");
  auto import = std::make_unique<Import>();
  Import& self = *import;
  self.ordinal = ++started_;
  self.blocks.assign(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(wanted));
  self.came.assign(wanted, false);
  self.began = clock_.now();
  CHECK(running_.emplace(seq, std::move(import)).second, "a sequence is fetched once");
  self.call = fetcher_.fetch(
      ticket, tokens,
      [this, &self](int32_t index, std::span<const std::byte> bytes) {
        metrics_.received_bytes.Increment(static_cast<double>(bytes.size()));
        self.note(self.accept(engine_, index, bytes));
      },
      [this, &self, seq](Status status) {
        ended_({.seq = seq, .ordinal = self.ordinal, .status = self.outcome(std::move(status))});
      });
}

void Imports::cancel(SeqId seq) {
  const auto at = running_.find(seq);
  if (at == running_.end()) return;
  at->second->call.reset();  // returns when no callback runs any more
  running_.erase(at);
}

bool Imports::take(const FetchEnd& end) {
  const auto at = running_.find(end.seq);
  if (at == running_.end() || at->second->ordinal != end.ordinal) return false;
  if (end.status.ok())
    metrics_.received_seconds.Observe((clock_.now() - at->second->began).to_seconds());
  else
    metrics_.transfer_failures.Increment();
  cancel(end.seq);
  return true;
}

}  // namespace fathom
