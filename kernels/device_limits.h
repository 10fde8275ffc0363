// How fast can a device copy and multiply at best? Measured where it is asked, through its own
// operations: a large copy within its memory, and a square product of random numbers.
#pragma once

#include "kernels/cpu/limits.h"

namespace fathom {

struct DeviceLimitsParams {
  const Ops* ops = nullptr;
  Device* device = nullptr;
  std::function<double()> seconds;  // a clock that only grows
  int32_t repeats = 10;             // each figure is the best of so many
};

// read_bytes_s counts what a copy reads and writes. RESOURCE_EXHAUSTED without 3 GB of memory.
Result<MachineLimits> measure_device_limits(const DeviceLimitsParams& params);

}  // namespace fathom
