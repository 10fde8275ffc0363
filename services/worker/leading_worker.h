// What is a worker that a router drives, whatever its engine is? The ports, the loop and the thread
// around it; the engine comes from outside, so that one of several that share experts lives like
// any other.
#pragma once

#include <functional>
#include <memory>

#include "engine/engine.h"
#include "worker/engine_choice.h"
#include "worker/worker.h"

namespace fathom {

// On the worker's thread, once; may take minutes.
using EngineSource = std::function<Result<std::unique_ptr<Engine>>(const LoadFraction& progress)>;

// Of checked settings. `labels` are those of its metrics.
Result<std::unique_ptr<Worker>> start_leading_worker(const WorkerConfig& config, WorkerParts parts,
                                                     EngineSource engine,
                                                     const MetricLabels& labels = {});

}  // namespace fathom
