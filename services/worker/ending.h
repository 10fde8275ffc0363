// How is the end of a worker told to who waits for it? Once, from any thread: the first word about
// the end is kept.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <utility>

#include "base/clock.h"
#include "base/result.h"

namespace fathom {

class Ending {
 public:
  explicit Ending(std::function<void()> told) : told_(std::move(told)) {}

  void tell(Status result) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      ended_ = true;
      result_ = std::move(result);
      came_.notify_all();
    }
    if (told_) told_();
  }
  bool ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  Status result() const {
    const std::lock_guard lock(mutex_);
    return result_;
  }
  bool wait(Duration patience) const {
    std::unique_lock lock(mutex_);
    const auto ended = [this] { return ended_; };
    // A wait beyond a day is one without end; the clock of wait_for would overflow.
    if (patience.ns >= Duration::seconds(86400).ns) {
      came_.wait(lock, ended);
      return true;
    }
    return came_.wait_for(lock, std::chrono::nanoseconds(patience.ns), ended);
  }

 private:
  const std::function<void()> told_;
  mutable std::mutex mutex_;
  mutable std::condition_variable came_;
  bool ended_ = false;
  Status result_;
};

}  // namespace fathom
