// In which order do things happen that CUDA leaves open? Threads, blocks, copies under way and the
// work of streams: one seed decides. Seed 0 takes threads in turn and lets everything asynchronous
// happen as late as it may; every other seed draws.
#pragma once

#include <cstdint>

namespace emulated {

class Schedule {
 public:
  explicit Schedule(uint64_t seed = 0) : seed_(seed), state_(seed * 0x9E3779B97F4A7C15u + 1) {}

  bool draws() const { return seed_ != 0; }
  // 0 .. count - 1; 0 where nothing is drawn.
  uint32_t below(uint32_t count) {
    if (!draws() || count <= 1) return 0;
    return static_cast<uint32_t>((next() >> 32) * count >> 32);
  }
  // Once in `times`; never where nothing is drawn.
  bool once_in(uint32_t times) { return draws() && below(times) == 0; }

 private:
  uint64_t next() {  // xorshift64*
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Du;
  }

  uint64_t seed_, state_;
};

}  // namespace emulated
