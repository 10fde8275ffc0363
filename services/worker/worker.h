// What is a worker, seen from outside? A running machine of one tensor-parallel group: it opens its
// ports, loads the weights while it already answers that it is alive but not ready, then serves one
// router until it is drained, stopped or its group breaks. A follower process of a group has
// operations only and ends with its leader.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "net/fetch.h"
#include "process/metrics.h"
#include "worker/config.h"

namespace fathom {

enum class WorkerState : uint8_t { loading, serving, draining, ended };

struct WorkerParts {
  const Clock& clock;
  Metrics& metrics;
  uint64_t instance = 0;  // random per start of the process
  // 0..1 while weights load; on the loading thread. May be empty.
  std::function<void(double)> on_progress;
  // For tests: damages blocks on their way out. May be empty.
  BlockFault block_fault;
  // Once, when wait() would return. On a thread of the worker; must not block. May be empty.
  std::function<void()> on_end;
};

class Worker {
 public:
  virtual ~Worker() = default;                         // stops; waits for a load that is under way
  virtual std::string address() const = 0;             // gRPC, as bound; empty for a follower
  virtual std::string operations_address() const = 0;  // as bound; empty without
  virtual WorkerState state() const = 0;
  virtual std::string not_ready() const = 0;  // why; empty while serving
  // Tells the router, lets what runs end and ends the worker. Returns at once.
  virtual void drain() = 0;
  // Ends now; what runs is lost here and recovered by the router. Returns at once.
  virtual void stop() = 0;
  // Until the worker has ended, or patience is over: false. result() says how.
  virtual bool wait(Duration patience) = 0;
  // Ok after drain, stop or a leader's farewell; the error that ended it otherwise: the model could
  // not be loaded, or the group broke and every sequence on it is lost.
  virtual Status result() const = 0;
};

// Checks settings and opens the ports; errors name the setting or address at fault. Loading goes on
// behind it, and its failure ends the worker: see wait() and result(). What `parts` refers to
// outlives the worker.
Result<std::unique_ptr<Worker>> start_worker(const WorkerConfig& config, WorkerParts parts);

}  // namespace fathom
