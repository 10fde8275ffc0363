// How does the leader of a group of processes keep its followers in step? It collects what they
// must hear (blocks imported since the last step, then the step) and every rank of the process
// sends it by broadcast. With one process there is nobody to tell, and all of this is nothing.
#pragma once

#include <mutex>
#include <set>
#include <vector>

#include "engine/group_wire.h"
#include "engine/model_ranks.h"

namespace fathom {

class FollowerFeed {
 public:
  FollowerFeed(ModelRanks& ranks, int32_t processes) : ranks_(ranks), alone_(processes == 1) {}

  // Copies a block into the leader's pool and remembers to pass it on before the next step. From
  // any thread.
  Status import_block(BlockIndex block, std::span<const std::byte> in);
  // Collects the messages for a step, or the farewell. On the stepping thread, before the ranks
  // run.
  Status prepare_step(const StepBatch& step);
  void prepare_leave();
  // Sends what was prepared. On every rank's thread.
  Status send(int32_t local);

 private:
  struct Message {
    GroupHeader header;
    std::vector<std::byte> bytes;
  };
  Status prepare_imports();

  ModelRanks& ranks_;
  bool alone_;
  std::mutex mutex_;  // guards imported_, and the pool's imported blocks while they are copied
  std::set<BlockIndex> imported_;
  std::vector<Message> messages_;
  size_t count_ = 0;
};

// Rank 0 sends, the others receive into `bytes`, which grows. Returns what came.
Result<GroupHeader> exchange(Comm& comm, GroupHeader header, std::vector<std::byte>& bytes);

}  // namespace fathom
