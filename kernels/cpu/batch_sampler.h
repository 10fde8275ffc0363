// How are rows sampled on the CPU? One after the other, on the caller.
#pragma once

#include "kernels/batch_sampler.h"

namespace fathom {

std::unique_ptr<BatchSampler> make_host_sampler();

}  // namespace fathom
