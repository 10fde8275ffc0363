// Can activations be quantised for these weights? Compute::fp8 wants FP8 weights in blocks of 128 x
// 128, and a rank's columns to begin where a block does: scales of activations belong to the same
// 128 columns.
#pragma once

#include "base/result.h"
#include "model/weights.h"

namespace fathom {

// INVALID_ARGUMENT naming "compute" when not. Needs no more than what WeightReader::lister reads.
Status check_quantisable(const ModelWeights& weights);

}  // namespace fathom
