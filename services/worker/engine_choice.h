// Which engine do the settings ask for? The one place where a WorkerConfig becomes an Engine, and
// where its values are checked: a wrong one is an error that names the setting, before any port is
// opened.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "contract/drive.h"
#include "engine/engine.h"
#include "net/fetch.h"
#include "worker/config.h"

namespace fathom {

using LoadFraction = std::function<void(double)>;  // 0..1

Status check_worker_config(const WorkerConfig& config);
// Of checked settings.
Role role_of(const WorkerConfig& config);
// Most tokens of a step where the router names none.
int32_t step_tokens_of(const WorkerConfig& config);
// Tokens a row guesses ahead at most; 0: it does not.
int32_t drafts_of(const WorkerConfig& config);
std::string served_name(const WorkerConfig& config);
bool follows(const WorkerConfig& config);  // a process of a group that does not lead it

// What the fake engine's settings damage on the way out; empty for nothing.
BlockFault chosen_fault(const WorkerConfig& config);

// May take minutes. The engine of a process that leads its group or is alone.
Result<std::unique_ptr<Engine>> load_engine(const WorkerConfig& config,
                                            const LoadFraction& progress);
// One engine for each rank of expert_parallel.
Result<std::vector<std::unique_ptr<Engine>>> load_expert_engines(const WorkerConfig& config,
                                                                 const LoadFraction& progress);
// The whole life of a follower: ok when its leader left, UNAVAILABLE when it was lost.
Status follow(const WorkerConfig& config, const LoadFraction& progress);

}  // namespace fathom
