// How do ranks on devices of their own exchange rows for their experts? By collectives of the
// devices: rows, choices and weights of all ranks are gathered, padded to the largest rank's rows;
// each rank adds its experts' part for every row; the parts are summed in rank order, and each rank
// keeps its own rows. A row's bits depend on the number of ranks (its experts are summed rank by
// rank), but not on which rank holds it nor on what the others compute. The threads agree on sizes
// through `comm`. Where the collectives can be recorded, so can what all do in a pass: it depends
// on the padded rows of the largest rank and on who assists.
#pragma once

#include <memory>

#include "kernels/collectives.h"
#include "model/config.h"
#include "model/expert_exchange.h"

namespace fathom {

// One rank's end. `device` outlives it; `collectives` belongs to it.
std::unique_ptr<ExpertExchange> make_device_experts(const ModelConfig& config, Device& device,
                                                    std::unique_ptr<Comm> comm,
                                                    std::unique_ptr<Collectives> collectives);

}  // namespace fathom
