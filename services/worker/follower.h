// What runs in a process of a group that does not lead it? The engine's follower and the operations
// port, nothing else: no router and no peer talks to it.
#pragma once

#include <memory>

#include "base/result.h"
#include "worker/config.h"
#include "worker/worker.h"

namespace fathom {

Result<std::unique_ptr<Worker>> start_follower(const WorkerConfig& config, WorkerParts parts);

}  // namespace fathom
