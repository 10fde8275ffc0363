// How does a test wait for what another thread does? It takes values from a mailbox, in order; a
// test whose event never comes fails after a minute instead of hanging.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

namespace fathom {

template <class T>
class Mailbox {
 public:
  void put(T value) {
    std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    came_.notify_all();
  }
  T take() {
    std::unique_lock lock(mutex_);
    if (!came_.wait_for(lock, std::chrono::seconds(60), [this] { return !values_.empty(); })) {
      ADD_FAILURE() << "nothing came";
      return T{};
    }
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }
  // The first value for which `wanted` holds; those before it are dropped.
  template <class Wanted>
  T take_until(Wanted wanted) {
    while (true) {
      T value = take();
      if (wanted(value) || testing::Test::HasFailure()) return value;
    }
  }
  bool empty() {
    std::lock_guard lock(mutex_);
    return values_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<T> values_;
};

}  // namespace fathom
