// What waits for the loop at the next step boundary? Everything other threads have to say to it, in
// the order it was said: a router's arrival and leaving, its edits, ended fetches. The loop takes
// all of it at once, or sleeps until there is something; nobody polls.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "contract/drive.h"
#include "worker/transfer.h"

namespace fathom {

// What ran before is to be dropped: a router's stream opened or ended.
struct RouterReset {
  int32_t step_token_budget = 0;  // of the new router's Hello; 0 leaves it to the worker
};
struct DrainRequest {};
struct StopRequest {};
using LoopMessage = std::variant<RouterReset, Edits, FetchEnd, DrainRequest, StopRequest>;

class Inbox {
 public:
  void put(LoopMessage message) {
    {
      const std::lock_guard lock(mutex_);
      messages_.push_back(std::move(message));
    }
    filled_.notify_one();
  }
  // Ends a wait without saying anything.
  void wake() {
    {
      const std::lock_guard lock(mutex_);
      woken_ = true;
    }
    filled_.notify_one();
  }
  // Swaps what waits into `messages`, which is cleared first.
  void take(std::vector<LoopMessage>& messages) {
    messages.clear();
    const std::lock_guard lock(mutex_);
    messages_.swap(messages);
  }
  // Until there is a message, a wake or `patience` has passed; kNever's distance waits without end.
  void wait(Duration patience) {
    std::unique_lock lock(mutex_);
    const auto something = [&] { return woken_ || !messages_.empty(); };
    if (patience.ns >= Duration::seconds(3600).ns)
      filled_.wait(lock, something);
    else
      filled_.wait_for(lock, std::chrono::nanoseconds(patience.ns), something);
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::vector<LoopMessage> messages_;
  bool woken_ = false;
};

}  // namespace fathom
