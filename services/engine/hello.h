// Do the processes of a group mean the same thing? Before the first step the leader says which
// model, layout and settings it has; a follower that differs makes both sides stop with an error
// naming the setting, instead of computing nonsense together.
#pragma once

#include <cstdint>

#include "engine/model_ranks.h"

namespace fathom {

// Everything a follower must share. Sent as it lies in memory: both ends are the same program.
struct GroupHello {
  char digest[32] = {};
  int32_t tensor_parallel = 0;
  int32_t block_tokens = 0;
  int32_t expanded_prompt_min = 0;
  int32_t compute = 0;
  int32_t speculative_tokens = 0;
  int64_t block_bytes = 0;  // another type of KV has blocks of another size
  int32_t blocks = 0;       // the leader's; followers take it
};

GroupHello make_hello(const TpEngineConfig& config, const ModelRanks& ranks, int32_t blocks);

// Every process of the group calls this once; returns the leader's hello. FAILED_PRECONDITION on
// every process when any differs.
Result<GroupHello> agree(const GroupHello& mine, ModelRanks& ranks, bool leads);

}  // namespace fathom
