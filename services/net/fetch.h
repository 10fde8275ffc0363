// How do KV blocks move between workers? The receiver asks with a ticket and the sender streams
// blocks, each with its ordinal and an XXH3-64 checksum of its bytes, as soon as it is complete.
// Portable gRPC transport; others (RDMA) keep the same two halves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "contract/drive.h"

namespace grpc {
class Service;
}

namespace fathom {

// The sending half, implemented by worker/. Called on gRPC threads; must not block.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  // Calls `ready(ordinal_count)` now and whenever more leading blocks of the sequence are complete
  // (all blocks when the prompt is), or `gone(error)` when it is dropped or fails. NOT_FOUND /
  // PERMISSION_DENIED naming `seq` or `key` for a ticket that does not fit. A sequence that has not
  // arrived yet is waited for up to `patience`, since the two workers learn of it at the same
  // moment.
  struct Watcher {
    std::function<void(int32_t complete_blocks, bool all)> ready;
    std::function<void(Error)> gone;
  };
  // `complete_blocks` never exceeds what `tokens` need; `all` says that it will not grow. Both may
  // be called under the source's own lock: they only take note. `copy` is called from other
  // threads. Returns a handle that ends the watch when destroyed.
  virtual std::shared_ptr<void> watch(const Ticket& ticket, int32_t tokens, Watcher watcher) = 0;
  // Copies block `ordinal` of the sequence; false if it was dropped meanwhile.
  virtual bool copy(SeqId seq, int32_t ordinal, std::span<std::byte> out) const = 0;
  virtual int64_t block_bytes() const = 0;
};

class FetchService {
 public:
  virtual ~FetchService() = default;
  virtual grpc::Service& grpc() = 0;
  virtual void stop() = 0;
};
// For tests: sees each block after its checksum was taken and may change its bytes; false ends the
// stream there as if all blocks had been sent.
using BlockFault = std::function<bool(int32_t ordinal, std::span<std::byte> bytes)>;
// `source` is not called, and no watch of it lives, after stop(); do not call stop() holding a lock
// that the source takes. Destroy the service after the server that carries it.
std::unique_ptr<FetchService> make_fetch_service(BlockSource& source, BlockFault fault = {});

// The receiving half.
class FetchCall {  // destroying it cancels
 public:
  virtual ~FetchCall() = default;
};
class Fetcher {
 public:
  virtual ~Fetcher() = default;
  // Fetches blocks_for(tokens) blocks. `block(ordinal, bytes)` runs on a gRPC thread for each block
  // whose checksum held; `done(status)` exactly once: ok when all came, DATA_LOSS for a checksum or
  // short stream, UNAVAILABLE for a lost peer, DEADLINE_EXCEEDED after `patience` without progress.
  // No callback runs after the FetchCall is gone; do not destroy it holding a lock that a callback
  // takes. Destroying it, or asking for the next fetch, from inside a callback is fine.
  virtual std::unique_ptr<FetchCall> fetch(
      const Ticket& ticket, int32_t tokens,
      std::function<void(int32_t, std::span<const std::byte>)> block,
      std::function<void(Status)> done) = 0;
};
std::unique_ptr<Fetcher> make_fetcher(int64_t block_bytes, int32_t block_tokens, Duration patience);

}  // namespace fathom
