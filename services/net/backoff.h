// How long until the next attempt to reach a peer? Twice as long after each failure, up to a bound
// that a person does not mind to wait, and short again after a success. Guarded by its owner.
// Private to net/.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace fathom {

class Backoff {
 public:
  static constexpr Duration kMin = Duration::ms(100);
  static constexpr Duration kMax = Duration::ms(2000);

  // The wait before the attempt that follows.
  Duration next() {
    const Duration wait = wait_;
    wait_ = std::min(wait_ * 2, kMax);
    return wait;
  }
  void reset() { wait_ = kMin; }

 private:
  Duration wait_ = kMin;
};

}  // namespace fathom
