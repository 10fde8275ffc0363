// How do the threads of one process agree that each has said its part? They meet: nobody goes on
// before all have come, and one that gives up lets nobody wait. What they published before is seen
// by all after. It is about host code only; what the GPUs do is ordered by events.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "base/result.h"

namespace fathom::cuda {

class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}

  // The last to come runs `agree` before anybody goes on; its error breaks the meeting for all. A
  // meeting that was held is a success even if somebody left right after it.
  template <class F>
  Status meet(F&& agree) {
    if (broken_.load(std::memory_order_acquire)) return error();
    const uint32_t round = round_.load(std::memory_order_acquire);
    const uint32_t held = held_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      if (const Status status = agree(); !status.ok()) break_with(status.error());
      if (broken_.load(std::memory_order_acquire)) return error();
      held_.fetch_add(1, std::memory_order_release);
      next_round();
      return {};
    }
    await(round);
    if (held_.load(std::memory_order_acquire) != held) return {};
    return error();
  }

  // The first error stays.
  void break_with(Error e) {
    {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(e);
    }
    broken_.store(true, std::memory_order_release);
    next_round();
  }

  Status status() {
    if (broken_.load(std::memory_order_acquire)) return error();
    return {};
  }

 private:
  Error error() {
    const std::lock_guard lock(mutex_);
    return *error_;
  }
  void next_round() {
    round_.fetch_add(1, std::memory_order_acq_rel);
    round_.notify_all();
  }
  // Ranks come within the time it takes to launch a few kernels; waking a sleeper takes longer.
  void await(uint32_t round) {
    constexpr int kSpins = 20'000;  // about 20 us
    for (int i = 0; i < kSpins; ++i)
      if (round_.load(std::memory_order_acquire) != round) return;
    round_.wait(round, std::memory_order_acquire);
  }

  const int threads_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> round_{0};  // moves at a meeting and when it breaks
  std::atomic<uint32_t> held_{0};               // meetings that took place
  std::atomic<bool> broken_{false};
  std::mutex mutex_;
  std::optional<Error> error_;
};

}  // namespace fathom::cuda
