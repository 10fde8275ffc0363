// When do engines that share experts step? Together, in rounds: a round begins when one of them has
// a plan and none runs, takes the plans that are there, and every rank takes part in it on a thread
// of its own, with or without a plan. A plan that comes while a round runs waits for the next. A
// rank that had a plan in the last round usually has the next one at about the time of the others,
// so a round waits for it, but from the first plan on no longer than `patience`: without that,
// ranks that are all busy would take turns instead of stepping side by side.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"

namespace fathom {

// What the ranks do in a round; called on the rank's own thread, always the same one.
class RoundWork {
 public:
  virtual ~RoundWork() = default;
  virtual Status begin(int32_t rank, const Plan& plan) = 0;
  // After its step was begun, or instead of one: until no rank needs it any more.
  virtual Status assist(int32_t rank) = 0;
};

class Rounds {
 public:
  // `work` outlives it.
  Rounds(int32_t ranks, RoundWork& work, Duration patience);
  // Nobody may be in begin().
  ~Rounds();
  Rounds(const Rounds&) = delete;
  Rounds& operator=(const Rounds&) = delete;

  // Returns when this rank has begun its step; others may still be busy. By one thread for each
  // rank. A rank that fails in a round breaks it for all: every later call returns its error.
  Status begin(int32_t rank, const Plan& plan);
  // Whether a plan of this rank waits for the next round.
  bool waiting(int32_t rank);

 private:
  struct Seat {
    const Plan* waiting = nullptr;  // for the next round
    const Plan* running = nullptr;  // in this one
    bool answered = false;
    bool took_part = false;  // had a plan in the last round
    Status result;
  };

  bool all_came() const;
  bool none_came() const;
  void be_patient();
  void begin_round();
  void serve(int32_t rank);
  void take_part(int32_t rank, std::unique_lock<std::mutex>& lock);
  void fail(const Error& error);

  RoundWork& work_;
  const Duration patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Seat> seats_;
  int32_t busy_ = 0;  // ranks in the round that runs
  uint64_t round_ = 0;
  std::chrono::steady_clock::time_point patient_until_{};
  Status broken_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fathom
