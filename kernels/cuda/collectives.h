// How do ranks on GPUs form a group? As threads of one process, which read each other's memory
// ("peers": virtual ranks on one GPU, or GPUs that reach each other), or as processes, one GPU
// each, through NCCL, which is loaded when asked for. This header names no CUDA type.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kernels/collectives.h"
#include "kernels/device.h"

namespace fathom {

// Rank i computes on devices[i], which make_cuda_device made. Each rank keeps 64 MB on its GPU, and
// 16 MB more where all have a GPU of their own: then their calls can be recorded. `patience`: how
// long a replayed call waits for a peer's before the group is broken.
// Errors: INVALID_ARGUMENT for more than 16 ranks, FAILED_PRECONDITION naming "device" where two
// GPUs can not reach each other's memory, RESOURCE_EXHAUSTED.
Result<std::vector<std::unique_ptr<Collectives>>> make_peer_collectives(
    std::span<Device* const> devices, Duration patience = Duration::seconds(30));

using NcclId = std::array<std::byte, 128>;

// A name for a group that does not exist yet; one rank asks, and hands it to all others.
// FAILED_PRECONDITION where libnccl.so.2 can not be loaded, saying why.
Result<NcclId> make_nccl_id();

struct NcclGroup {
  NcclId id = {};
  int rank = 0;
  int size = 1;
  Duration timeout = Duration::seconds(60);  // for all to join, and for a collective to end
};
// Returns when all ranks have joined. No two ranks may share a GPU. Errors: FAILED_PRECONDITION as
// above, UNAVAILABLE when a rank does not come in time.
Result<std::unique_ptr<Collectives>> make_nccl_collectives(Device& device, const NcclGroup& group);

}  // namespace fathom
