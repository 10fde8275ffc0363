// What does a process of several ranks that share experts look like? Like as many workers: each has
// its address, its router's stream, its sequences and its KV, and a rank's number in its metrics.
// They load together, serve one operations port, and end together: when one breaks, all do.
#pragma once

#include <memory>

#include "base/result.h"
#include "worker/config.h"
#include "worker/worker.h"

namespace fathom {

// Of checked settings with expert_parallel above 1. The worker's address() names all ranks', with
// commas.
Result<std::unique_ptr<Worker>> start_expert_workers(const WorkerConfig& config, WorkerParts parts);

}  // namespace fathom
