#include "tests/gpu/emulator/stream.h"

#include "tests/gpu/emulator/machine.h"

namespace emulated {

void Stream::say(const Recipe& recipe) {
  if (recording_ != nullptr) {
    recording_->recipes.push_back(recipe);
    return;
  }
  ++said_;
  queue_.push_back(recipe());
  Schedule& schedule = machine().schedule();
  while (schedule.once_in(2) && do_one()) {
  }
}

void Stream::finish(uint64_t count) {
  while (done_ < count && do_one()) {
  }
}

// A kernel that may start early is begun when all blocks of the one before it have said so.
bool Stream::do_one() {
  if (queue_.empty() || doing_) return false;
  const Work work = std::move(queue_.front());
  queue_.pop_front();
  ++done_;
  if (!failure_.empty()) return true;
  doing_ = true;
  try {
    if (work.act) work.act();
    if (work.grid != nullptr)
      work.grid->run(machine().schedule(), [this] {
        if (!queue_.empty() && queue_.front().grid != nullptr &&
            queue_.front().grid->shape().starts_early)
          queue_.front().grid->begin(machine().schedule());
      });
  } catch (const Fault& f) {
    failure_ = f.what();
    machine().faulted(failure_);
  }
  doing_ = false;
  return true;
}

}  // namespace emulated
