#include "engine/hello.h"

#include <cstring>
#include <mutex>

namespace fathom {
namespace {

Status compare(const GroupHello& mine, const GroupHello& leader) {
  const auto differs = [](const char* what) {
    return Error{Code::failed_precondition, std::string(what) + " differs from the leader's", what};
  };
  if (std::memcmp(mine.digest, leader.digest, sizeof(mine.digest)) != 0)
    return differs("model digest");
  if (mine.tensor_parallel != leader.tensor_parallel) return differs("tensor_parallel");
  if (mine.block_tokens != leader.block_tokens) return differs("block_tokens");
  if (mine.expanded_prompt_min != leader.expanded_prompt_min) return differs("expanded_prompt_min");
  if (mine.compute != leader.compute) return differs("compute");
  if (mine.speculative_tokens != leader.speculative_tokens) return differs("speculative_tokens");
  if (mine.block_bytes != leader.block_bytes) return differs("kv_dtype");
  return {};
}

// One rank's part in it: hear the leader, then learn whether anybody disagrees.
Status agree_on_rank(const GroupHello& mine, GroupHello& leader, Comm& comm) {
  leader = mine;
  FATHOM_CHECKED(comm.broadcast(std::as_writable_bytes(std::span(&leader, 1)), 0));
  Status same = compare(mine, leader);
  float against = same.ok() ? 0.0f : 1.0f;
  FATHOM_CHECKED(comm.all_reduce(std::span(&against, 1)));
  if (!same.ok()) return same;
  if (against > 0)
    return Error{Code::failed_precondition,
                 "a follower has another model or other settings; it says which", "group"};
  return {};
}

}  // namespace

GroupHello make_hello(const TpEngineConfig& config, const ModelRanks& ranks, int32_t blocks) {
  GroupHello out{.tensor_parallel = config.tensor_parallel,
                 .block_tokens = config.block_tokens,
                 .expanded_prompt_min = config.expanded_prompt_min,
                 .compute = static_cast<int32_t>(config.compute),
                 .speculative_tokens = config.speculative_tokens,
                 .block_bytes = ranks.layout().block_bytes,
                 .blocks = blocks};
  CHECK(ranks.digest().size() == sizeof(out.digest));
  std::memcpy(out.digest, ranks.digest().data(), sizeof(out.digest));
  return out;
}

Result<GroupHello> agree(const GroupHello& mine, ModelRanks& ranks, bool leads) {
  GroupHello agreed = mine;
  Status result;
  std::mutex mutex;
  ranks.threads().run([&](int32_t local) {
    GroupHello leader;
    const Status status = agree_on_rank(mine, leader, ranks.comm(local));
    const std::scoped_lock lock(mutex);
    if (!status.ok() && result.ok()) result = status;
    if (local == 0 && !leads) agreed = leader;
  });
  if (!result.ok()) return result.error();
  return agreed;
}

}  // namespace fathom
