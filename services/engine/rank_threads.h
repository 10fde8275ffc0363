// Who runs the ranks of one process? One thread each; rank 0 runs on the caller's. They sleep
// between jobs, since a step may be seconds away, and meet in a barrier that a rank which gives up
// breaks for all, so a failed collective can not leave a thread waiting for ever.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "model/forward.h"

namespace fathom {

class BreakableBarrier final : public LocalBarrier {
 public:
  explicit BreakableBarrier(int32_t count) : count_(count) {}
  bool arrive_and_wait() override;
  // Wakes everybody; every later arrival returns false at once.
  void give_up();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int32_t count_;
  int32_t arrived_ = 0;
  uint64_t generation_ = 0;
  bool broken_ = false;
};

class RankThreads {
 public:
  explicit RankThreads(int32_t count);
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  int32_t count() const { return count_; }
  // Runs job(rank) for every rank, rank 0 here; returns when all are done.
  void run(const std::function<void(int32_t rank)>& job);

 private:
  void serve(int32_t rank);

  int32_t count_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int32_t)>* job_ = nullptr;
  uint64_t generation_ = 0;
  int32_t running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fathom
