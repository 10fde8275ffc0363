// How do ranks that are threads of one process exchange rows for their experts? They read each
// other's: each says where its rows and choices lie, all meet, each takes the (row, slot) pairs of
// its own experts and writes their results into one buffer that all share, all meet again, and
// every rank adds the results of its own rows in the order of the slots. Those are the very
// operations, in the very order, of a rank that has all experts, so how many ranks there are
// changes no bit. Nothing is copied for the way back, and what is agreed on goes through `comm`.
#pragma once

#include <memory>
#include <vector>

#include "model/config.h"
#include "model/expert_exchange.h"

namespace fathom {

// Rank i is for the i-th thread. `ranks` divides the experts.
std::vector<std::unique_ptr<ExpertExchange>> make_host_experts(const ModelConfig& config,
                                                               int32_t ranks);

}  // namespace fathom
