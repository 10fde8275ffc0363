// How does one engine serve many loads? Each sees it with a pool of its own size, with steps ahead
// or without, and hears at once when its group breaks.
#pragma once

#include <algorithm>

#include "engine/engine.h"
#include "tests/load/groups/group.h"
#include "tests/sim/world/violation.h"

namespace fathom::load {

class NarrowEngine final : public Engine {
 public:
  // `engine` outlives it and is in no other's hands meanwhile.
  NarrowEngine(Engine& engine, int32_t blocks, bool steps_ahead)
      : engine_(engine), info_(engine.info()) {
    info_.blocks = std::min(blocks, info_.blocks);
    info_.steps_ahead = info_.steps_ahead && steps_ahead;
  }
  // A load that was broken off leaves nothing in flight either.
  ~NarrowEngine() override {
    while (in_flight_ > 0 && finish().ok()) {
    }
  }
  const EngineInfo& info() const override { return info_; }
  Status begin(const Plan& plan) override {
    ++in_flight_;
    for (const StepRow& row : plan.rows) ahead_ += row.token_of_row >= 0;
    return heard(engine_.begin(plan));
  }
  Result<StepResult> finish() override {
    --in_flight_;
    Result<StepResult> result = engine_.finish();
    if (!result.ok()) static_cast<void>(heard(result.error()));
    return result;
  }
  Status export_block(BlockIndex block, std::span<std::byte> out) const override {
    return engine_.export_block(block, out);
  }
  Status import_block(BlockIndex block, std::span<const std::byte> in) override {
    return engine_.import_block(block, in);
  }

  uint64_t ahead() const { return ahead_; }  // rows that went on from a draw in flight
  const Status& status() const { return status_; }

 private:
  Status heard(Status status) {
    if (!status.ok() && status_.ok()) status_ = status;
    return status;
  }

  Engine& engine_;
  EngineInfo info_;
  Status status_;
  int in_flight_ = 0;
  uint64_t ahead_ = 0;
};

}  // namespace fathom::load
