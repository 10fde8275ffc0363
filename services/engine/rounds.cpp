#include "engine/rounds.h"

#include <algorithm>
#include <chrono>

namespace fathom {

Rounds::Rounds(int32_t ranks, RoundWork& work, Duration patience)
    : work_(work), patience_(patience), seats_(static_cast<size_t>(ranks)) {
  for (int32_t rank = 0; rank < ranks; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
}

Rounds::~Rounds() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (auto& thread : threads_) thread.join();
}

Status Rounds::begin(int32_t rank, const Plan& plan) {
  std::unique_lock lock(mutex_);
  if (!broken_.ok()) return broken_;
  Seat& seat = seats_[static_cast<size_t>(rank)];
  if (busy_ == 0 && none_came()) be_patient();
  seat.waiting = &plan;
  seat.answered = false;
  changed_.notify_all();
  while (!seat.answered) {
    if (busy_ > 0)
      changed_.wait(lock);
    else if (all_came() || std::chrono::steady_clock::now() >= patient_until_)
      begin_round();
    else
      changed_.wait_until(lock, patient_until_);
  }
  return seat.result;
}

bool Rounds::waiting(int32_t rank) {
  const std::lock_guard lock(mutex_);
  return seats_[static_cast<size_t>(rank)].waiting != nullptr;
}

bool Rounds::all_came() const {
  return std::ranges::all_of(seats_,
                             [](const Seat& s) { return s.waiting != nullptr || !s.took_part; });
}

bool Rounds::none_came() const {
  return std::ranges::all_of(seats_, [](const Seat& s) { return s.waiting == nullptr; });
}

void Rounds::be_patient() {
  patient_until_ = std::chrono::steady_clock::now() + std::chrono::nanoseconds(patience_.ns);
}

void Rounds::begin_round() {
  for (Seat& seat : seats_) {
    seat.running = std::exchange(seat.waiting, nullptr);
    seat.took_part = seat.running != nullptr;
  }
  busy_ = static_cast<int32_t>(seats_.size());
  ++round_;
  changed_.notify_all();
}

void Rounds::serve(int32_t rank) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || round_ != seen; });
    // A round that has begun is gone through even at the end: others may wait for this rank in it.
    if (round_ == seen) return;
    seen = round_;
    take_part(rank, lock);
    if (--busy_ > 0) continue;
    be_patient();
    changed_.notify_all();
  }
}

// `lock` is held outside the work. The answer does not wait for what others still need.
void Rounds::take_part(int32_t rank, std::unique_lock<std::mutex>& lock) {
  Seat& seat = seats_[static_cast<size_t>(rank)];
  Status status;
  if (seat.running != nullptr) {
    lock.unlock();
    status = work_.begin(rank, *seat.running);
    lock.lock();
    seat.running = nullptr;
    seat.result = status;
    seat.answered = true;
    changed_.notify_all();
  }
  if (status.ok()) {
    lock.unlock();
    status = work_.assist(rank);
    lock.lock();
  }
  if (!status.ok()) fail(status.error());
}

void Rounds::fail(const Error& error) {
  if (broken_.ok()) broken_ = error;
  for (Seat& seat : seats_) {
    if (std::exchange(seat.waiting, nullptr) == nullptr) continue;
    seat.result = broken_;
    seat.answered = true;
  }
  changed_.notify_all();
}

}  // namespace fathom
