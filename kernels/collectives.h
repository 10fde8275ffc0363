// How do ranks sum what is on their GPUs? Ordered with each rank's operations, without the host
// waiting for them. Sums are taken in rank order, so every rank gets the same bits. The same call on
// every rank in the same order.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace fathom {

class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // data becomes ((r0 + r1) + r2) + ...; device memory.
  virtual Status all_reduce(float* data, int64_t count) = 0;
  // out = r0's part, then r1's, ...; `count` values each.
  virtual Status all_gather(const float* part, float* out, int64_t count) = 0;
};

}  // namespace fathom
