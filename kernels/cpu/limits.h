// How fast can this machine read and multiply at best? Measured where it is asked: machines differ,
// and what others run on them takes its part. Reading walks through memory larger than any cache,
// every lane a stretch of its own; multiplying works in registers alone, with the products that a
// table's operations use. Every figure is the best of many short runs.
#pragma once

#include <cstddef>
#include <functional>

#include "kernels/ops.h"

namespace fathom {

struct MachineLimits {
  double read_bytes_s = 0;
  double float32_flops_s = 0;   // two for each multiply-add
  double bfloat16_flops_s = 0;  // tiles, paired products or float32 ones, whichever is fastest
};

struct LimitsParams {
  const Ops* ops = nullptr;
  Lanes* lanes = nullptr;
  std::function<double()> seconds;  // a clock that only grows
  double measure_s = 0.35;          // for each figure
  size_t memory = size_t{1} << 30;  // to read from
};

MachineLimits measure_limits(const LimitsParams& params);

}  // namespace fathom
