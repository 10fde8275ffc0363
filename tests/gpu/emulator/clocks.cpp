#include "tests/gpu/emulator/clocks.h"

#include <algorithm>

namespace emulated {
namespace {

void raise(std::vector<Epoch>& line, Actor actor, Epoch epoch) {
  if (actor >= line.size()) line.resize(size_t{actor} + 1);
  line[actor] = std::max(line[actor], epoch);
}

void most(std::vector<Epoch>& line, const std::vector<Epoch>& other) {
  if (line.size() < other.size()) line.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i) line[i] = std::max(line[i], other[i]);
}

void least(std::vector<Epoch>& line, const std::vector<Epoch>& other) {
  line.resize(std::min(line.size(), other.size()));
  for (size_t i = 0; i < line.size(); ++i) line[i] = std::min(line[i], other[i]);
}

bool has(const std::vector<SharedKnown>& list, const SharedKnown& one) {
  return std::find(list.rbegin(), list.rend(), one) != list.rend();
}

}  // namespace

void Known::take(const Known& other) {
  most(seen, other.seen);
  most(shown, other.shown);
  most(loaded, other.loaded);
}

// Its next stores are of another epoch: they come behind the fence.
void Clock::fence() {
  if (known->seen != known->shown) {
    if (known->fenced == nullptr) {
      auto next = std::make_shared<Known>();
      next->seen = next->shown = known->seen;
      next->loaded = known->loaded;
      known->fenced = std::move(next);
    }
    known = SharedKnown(known->fenced);
  }
  own_shown = own++;
}

void Clock::learn(Actor actor, Epoch epoch, Actor first, std::span<const Epoch> loads, Step& last) {
  if (Known::at(known->seen, actor) >= epoch) return;
  if (last.from == known && Known::at(last.to->seen, actor) == epoch) {
    known = last.to;
    return;
  }
  auto next = std::make_shared<Known>();
  next->take(*known);
  raise(next->seen, actor, epoch);
  raise(next->shown, actor, epoch);
  for (size_t i = 0; i < loads.size(); ++i)
    raise(next->loaded, static_cast<Actor>(first + i), loads[i]);
  last = {known, next};
  known = std::move(next);
}

void Clock::learn_loads(Actor first, std::span<const Epoch> loads, Step& last) {
  if (last.from != known) {
    auto next = std::make_shared<Known>();
    next->take(*known);
    for (size_t i = 0; i < loads.size(); ++i)
      raise(next->loaded, static_cast<Actor>(first + i), loads[i]);
    last = {known, std::move(next)};
  }
  known = last.to;
}

// What it does from now on is of another epoch: those who are told do not know of that.
void Gathering::add(Clock& clock) {
  if (!has(added_, clock.known)) {
    added_.push_back(clock.known);
    all_.take(*clock.known);
  }
  raise(all_.seen, clock.self, clock.own++);
  raise(all_.shown, clock.self, clock.own_shown);
}

void Gathering::add(Actor actor, Epoch epoch) {
  raise(all_.seen, actor, epoch);
  raise(all_.shown, actor, epoch);
}

void Gathering::tell(Clock& clock) {
  if (whole_ == nullptr) whole_ = std::make_shared<Known>(std::move(all_));
  if (has(added_, clock.known)) {
    clock.known = whole_;
    return;
  }
  if (last_.from != clock.known) {
    auto next = std::make_shared<Known>();
    next->take(*clock.known);
    next->take(*whole_);
    last_ = {clock.known, std::move(next)};
  }
  clock.known = last_.to;
}

void Least::add(const SharedKnown& known) {
  if (has(added_, known)) return;
  if (least_ == nullptr) {
    least_ = known;
  } else {
    auto next = std::make_shared<Known>();
    next->take(*least_);
    least(next->seen, known->seen);
    least(next->shown, known->shown);
    least_ = std::move(next);
  }
  added_.push_back(known);
}

}  // namespace emulated
