// Where does chance come from in a simulation? From one seed: the same seed rolls the same dice.
#pragma once

#include <cstdint>

#include "base/philox.h"

namespace fathom::sim {

class Dice {
 public:
  explicit Dice(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  uint64_t roll() {
    const auto r = philox(seed_, counter_++, stream_);
    return (uint64_t{r[0]} << 32) | r[1];
  }
  // In [low, high].
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(roll() % static_cast<uint64_t>(high - low + 1));
  }
  int32_t count(int32_t low, int32_t high) { return static_cast<int32_t>(between(low, high)); }
  bool chance(double p) { return static_cast<double>(roll() >> 11) * 0x1.0p-53 < p; }
  template <class Value, size_t n>
  Value pick(const Value (&values)[n]) {
    return values[static_cast<size_t>(between(0, static_cast<int64_t>(n) - 1))];
  }

 private:
  uint64_t seed_ = 0;
  uint64_t stream_ = 0;
  uint64_t counter_ = 0;
};

}  // namespace fathom::sim
