// What can be seen of one worker? What it said when it came, whether it is there, and its latest
// steps: counts of each of the last two minutes' seconds, and the durations of the last steps one
// by one. Counting a step costs a few additions; everything else is computed when somebody asks.
// About 14 KB.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "batching/batcher.h"
#include "contract/watch.h"

namespace fathom {

class WorkerWatch {
 public:
  static constexpr size_t kStepsRemembered = 512;
  static constexpr int32_t kRateSeconds = 10;  // rates and means are of so many seconds

  WorkerWatch(std::string address, Instant now);

  void up(const Welcome& welcome, Instant now);
  // Why it is away; true when that is news: it was there, or the reason is another.
  bool down(const std::string& why, Instant now);
  // What of a report the whole cluster counts too.
  struct StepCount {
    int64_t prompt = 0;
    int64_t cached = 0;
    int64_t generated = 0;
  };
  static StepCount count_of(const Report& report);
  // True when it has begun to drain.
  bool step(const Report& report, const StepCount& count, Instant now);
  // The second that runs is over.
  void close_second();

  WorkerPhase phase() const { return phase_; }
  bool was_up() const { return welcome_.blocks > 0; }
  Instant heard() const { return heard_; }

  // `load`: what the router promised it; null while it is away.
  WatchedWorker view(Instant now, const WorkerLoad* load) const;

 private:
  struct Second {
    int64_t step_us = 0;
    int64_t rows = 0;
    int32_t steps = 0;
    int32_t prompt_steps = 0;
    StepCount tokens;
    int64_t drafted = 0;
    int64_t accepted = 0;
  };
  struct Step {
    Instant at;
    uint32_t us = 0;
    uint8_t kind = 0;  // prefill, decode, mixed
  };

  void enter(WorkerPhase phase, Instant now);
  std::array<WatchedSteps, 3> steps(Instant now) const;

  const std::string address_;
  WorkerPhase phase_ = WorkerPhase::connecting;
  Instant since_;
  Instant heard_;
  std::string why_;
  Welcome welcome_;
  int32_t free_blocks_ = 0;
  Second running_;
  std::vector<Second> seconds_;  // a ring once it is full
  size_t next_second_ = 0;
  std::vector<Step> steps_;  // the same
  size_t next_step_ = 0;
};

}  // namespace fathom
