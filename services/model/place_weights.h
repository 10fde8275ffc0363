// How do a rank's weights get to its device? Tensor by tensor, as views of the checkpoint become
// views of the device's memory; on the host they stay what they are.
#pragma once

#include <functional>

#include "kernels/placed.h"
#include "model/weights.h"

namespace fathom {

// `progress` is told the bytes placed so far. Errors: RESOURCE_EXHAUSTED naming "device".
Result<ModelWeights> place_weights(const ModelWeights& weights, PlacedWeights& placed,
                                   const std::function<void(uint64_t bytes)>& progress);

}  // namespace fathom
