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
  while (schedule.once_in(2) && do_one() == Did::some) {
  }
}

void Stream::finish(uint64_t count) {
  while (done_ < count) {
    const Did did = do_one();
    if (did == Did::nothing) return;
    if (did == Did::waits) give_others_a_turn();
  }
}

// A kernel that may start early is begun when all blocks of the one before it have said so.
Stream::Did Stream::do_one() {
  if (queue_.empty() || doing_) return Did::nothing;
  bool ended = true;
  if (failure_.empty()) {
    const Machine::Health health = machine().before_work(gpu_, queue_.front().replayed);
    if (health == Machine::Health::hangs) return Did::waits;
    const Work work = queue_.front();
    doing_ = true;
    try {
      if (health == Machine::Health::fails) throw Fault("the GPU has fallen off the bus");
      if (work.ready) ended = work.ready();
      if (work.act && ended) work.act();
      if (work.grid != nullptr)
        ended = work.grid->run(machine().schedule(), [this] {
          if (queue_.size() > 1 && queue_[1].grid != nullptr &&
              queue_[1].grid->shape().starts_early)
            queue_[1].grid->begin(machine().schedule());
        });
    } catch (const Fault& f) {
      failure_ = f.what();
      machine().faulted(failure_);
    }
    doing_ = false;
  }
  if (!ended) return Did::waits;
  machine().did_work(gpu_, queue_.front().replayed);
  queue_.pop_front();
  ++done_;
  return Did::some;
}

}  // namespace emulated
