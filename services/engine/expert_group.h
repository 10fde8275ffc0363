// How does one process serve a model in the second layout: attention data-parallel, experts
// divided? By engines, one a rank, each whole for its own sequences: weights but the experts', KV
// pool, sampler. They step in rounds (rounds.h) and meet in the layers of experts
// (model/expert_exchange.h). To the outside they are independent engines, so a router sees as many
// workers. KV grows with the ranks, where tensor parallel repeats latents on every one, and there
// are no sums in attention.
#pragma once

#include <memory>
#include <vector>

#include "engine/tp_engine.h"

namespace fathom {

// `ranks` engines; each keeps the others' experts alive, so any may be destroyed first. `config`
// speaks of one rank: blocks and bytes of KV and threads are each one's own. Rank i computes on the
// i-th GPU behind config.device.gpu, beginning again at the last. A rank that fails breaks the
// group: every engine's steps fail. Errors: INVALID_ARGUMENT naming expert_parallel for a model
// whose experts `ranks` does not divide, tensor_parallel or group.processes where the layouts are
// combined.
Result<std::vector<std::unique_ptr<Engine>>> make_expert_group(const TpEngineConfig& config,
                                                               int32_t ranks,
                                                               const LoadProgress& progress = {});

}  // namespace fathom
