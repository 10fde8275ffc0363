#include "engine/rank_threads.h"

namespace fathom {

bool BreakableBarrier::arrive_and_wait() {
  std::unique_lock lock(mutex_);
  if (broken_) return false;
  if (++arrived_ == count_) {
    arrived_ = 0;
    ++generation_;
    changed_.notify_all();
    return true;
  }
  const uint64_t mine = generation_;
  changed_.wait(lock, [&] { return broken_ || generation_ != mine; });
  return generation_ != mine;
}

void BreakableBarrier::give_up() {
  const std::scoped_lock lock(mutex_);
  broken_ = true;
  changed_.notify_all();
}

RankThreads::RankThreads(int32_t count) : count_(count) {
  for (int32_t rank = 1; rank < count; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
}

RankThreads::~RankThreads() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    start_.notify_all();
  }
  for (auto& thread : threads_) thread.join();
}

void RankThreads::run(const std::function<void(int32_t)>& job) {
  if (count_ > 1) {
    const std::scoped_lock lock(mutex_);
    job_ = &job;
    running_ = count_ - 1;
    ++generation_;
    start_.notify_all();
  }
  job(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return running_ == 0; });
}

void RankThreads::serve(int32_t rank) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
    if (stopping_) return;
    seen = generation_;
    const auto* job = job_;
    lock.unlock();
    (*job)(rank);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

}  // namespace fathom
