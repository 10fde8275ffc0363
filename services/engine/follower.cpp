// What does a follower process do? It hears every message its leader broadcasts and computes the
// same steps with its own ranks, until the leader says goodbye or the group breaks.
#include <mutex>

#include "engine/drafting.h"
#include "engine/group_wire.h"
#include "engine/hello.h"
#include "engine/leader.h"
#include "engine/model_ranks.h"

namespace fathom {
namespace {

class Follower {
 public:
  Follower(ModelRanks& ranks, BatchRules rules)
      : ranks_(ranks), rules_(rules), drafting_(ranks, rules) {}

  // One rank's loop. Every broadcast needs all ranks of the process, so when rank 0 lays out a step
  // the others have left the one before.
  Status serve(int32_t local) {
    std::vector<std::byte> inbox;
    for (int32_t steps = 0;;) {
      FATHOM_TRY(const GroupHeader header, exchange(ranks_.comm(local), {}, inbox));
      const auto bytes = std::span(inbox).first(header.bytes);
      if (header.kind == GroupMessage::leave) return {};
      if (header.kind == GroupMessage::import_block) {
        if (local == 0) FATHOM_CHECKED(import_block(header.block, bytes));
        continue;
      }
      if (local == 0) FATHOM_CHECKED(lay_out(bytes));
      if (!ranks_.barrier().arrive_and_wait())
        return Error{Code::unavailable, "another rank of this process gave up", "group"};
      if (step_.drawn > 0) FATHOM_CHECKED(ranks_.share_drawn(local, step_.drawn));
      FATHOM_CHECKED(ranks_.forward(local, batch_, {}));
      FATHOM_CHECKED(drafting_.run(local));
      ranks_.mark(local);
      // Two steps are in flight at most, so this hears of a failed one when the next was said.
      if (++steps > 1) FATHOM_CHECKED(ranks_.reach(local));
    }
  }

 private:
  Status import_block(BlockIndex block, std::span<const std::byte> bytes) {
    if (block < 0 || block >= ranks_.blocks() ||
        bytes.size() != static_cast<size_t>(ranks_.layout().block_bytes))
      return Error{Code::data_loss, "the leader's imported block is torn", "group"};
    return ranks_.write_block(block, bytes);
  }

  Status lay_out(std::span<const std::byte> bytes) {
    FATHOM_CHECKED(decode_step(bytes, step_));
    batch_.clear();
    first_rows_.clear();
    for (size_t i = 0; i < step_.sequences.size(); ++i) {
      first_rows_.push_back(batch_.add(step_.sequences[i], rules_));
      if (step_.fed[i] >= 0) batch_.feed(first_rows_.back(), step_.fed[i]);
    }
    for (const int32_t row : step_.logit_rows) batch_.want_logits(row);
    drafting_.begin(step_, first_rows_);
    return {};
  }

  ModelRanks& ranks_;
  BatchRules rules_;
  StepBatch step_;
  std::vector<int32_t> first_rows_;  // of each sequence of the step
  Batch batch_;
  Drafting drafting_;
};

}  // namespace

Status run_follower(const TpEngineConfig& config, const LoadProgress& progress) {
  if (config.group.process == 0)
    return invalid("process 0 leads, it does not follow", "group.process");
  FATHOM_TRY(auto ranks, ModelRanks::load(config, progress));
  FATHOM_TRY(auto comms, connect_group(config, ranks->digest()));
  ranks->attach(std::move(comms));
  FATHOM_TRY(const GroupHello hello, agree(make_hello(config, *ranks, 0), *ranks, false));
  FATHOM_CHECKED(ranks->start(hello.blocks));
  Follower follower(*ranks, {.block_tokens = config.block_tokens,
                             .expanded_prompt_min = config.expanded_prompt_min});
  Status result;
  std::mutex mutex;
  ranks->threads().run([&](int32_t local) {
    const Status status = follower.serve(local);
    if (!status.ok()) ranks->barrier().give_up();
    const std::scoped_lock lock(mutex);
    if (!status.ok() && result.ok()) result = status;
  });
  return result;
}

}  // namespace fathom
