// Who works beside the caller? A pool of threads that claim indexes of one job at a time. Between
// jobs they spin, for up to 90 microseconds while a pass over a model runs (stay_awake) since the
// next operation is usually that close, otherwise for 5 at most, and then sleep in the kernel.
#pragma once

#include <memory>

#include "kernels/ops.h"

namespace fathom {

// `threads` counts the caller: 1 makes a pool that runs everything inline. One caller at a time.
std::unique_ptr<Lanes> make_lanes(int threads);

}  // namespace fathom
