// How is a job handed over? One 64-bit word holds (job number, size, next index): claiming an index
// is one fetch_add, and a claim that came late sees the size or the job number of the word it
// claimed from, so it can never run an index of another job. The fields fn_ and state_ change only
// while no valid claim is open.
#include "kernels/cpu/lanes.h"

#include <atomic>
#include <thread>
#include <vector>

#include "base/check.h"

namespace fathom {
namespace {

// Pauses of 40 to 140 cycles. While a pass runs, 30 to 90 us: the next operation is that close, and
// a wake-up through the kernel costs 25 us and more on a virtual machine. A decode step of the
// 1.1 B model took 27.3 ms with 100 pauses, 26.1 with 400 and 24.9 with 2,000; lanes slept 40 times
// in a step with 400 and 15 times with 2,000. Otherwise a few microseconds: other processes want
// the cores.
constexpr int kSpins = 2000, kBriefSpins = 100;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Pool final : public Lanes {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() override {
    stopping_.store(true, std::memory_order_relaxed);
    announce();
    for (std::thread& worker : workers_) worker.join();
  }
  int count() const override { return threads_; }
  void stay_awake(bool awake) override { awake_.store(awake, std::memory_order_relaxed); }

  void run(int count, void (*fn)(void* state, int index), void* state) override {
    CHECK(count >= 0 && count <= kCountMax);
    if (threads_ == 1 || count <= 1) {
      for (int i = 0; i < count; ++i) fn(state, i);
      return;
    }
    fn_ = fn;
    state_ = state;
    open_.store(count, std::memory_order_relaxed);
    claims_.store(static_cast<uint64_t>(count) << kIndexBits, std::memory_order_release);
    announce();
    claim_all();
    for (int open = open_.load(std::memory_order_acquire); open != 0;)
      open = await_change(open_, open);
  }

 private:
  static constexpr int kIndexBits = 32;
  static constexpr int kCountMax = 1 << 30;

  // Waits until value != old: a spin, then sleep.
  template <class T>
  T await_change(const std::atomic<T>& value, T old) const {
    for (int i = 0; i < (awake_.load(std::memory_order_relaxed) ? kSpins : kBriefSpins); ++i) {
      const T now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause_briefly();
    }
    value.wait(old, std::memory_order_acquire);
    return value.load(std::memory_order_acquire);
  }

  void announce() {
    jobs_.fetch_add(1, std::memory_order_release);
    jobs_.notify_all();
  }
  void claim_all() {
    while (true) {
      const uint64_t claim = claims_.fetch_add(1, std::memory_order_acq_rel);
      const auto index = static_cast<uint32_t>(claim);
      if (index >= claim >> kIndexBits) return;
      fn_(state_, static_cast<int>(index));
      if (open_.fetch_sub(1, std::memory_order_acq_rel) == 1) open_.notify_one();
    }
  }
  void work() {
    for (uint32_t seen = 0; !stopping_.load(std::memory_order_relaxed);) {
      seen = await_change(jobs_, seen);
      claim_all();
    }
  }

  const int threads_;
  void (*fn_)(void*, int) = nullptr;
  void* state_ = nullptr;
  alignas(64) std::atomic<uint64_t> claims_{0};  // size << 32 | next index
  alignas(64) std::atomic<int> open_{0};         // indexes not finished
  alignas(64) std::atomic<uint32_t> jobs_{0};
  std::atomic<bool> stopping_{false}, awake_{false};
  std::vector<std::thread> workers_;
};

}  // namespace

std::unique_ptr<Lanes> make_lanes(int threads) {
  CHECK(threads >= 1);
  return std::make_unique<Pool>(threads);
}

}  // namespace fathom
