// How does a message of unknown size reach all ranks? Its size first, then its bytes: two
// broadcasts, in the order every rank makes them. Step plans travel so.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/comm.h"

namespace fathom {

// Every rank's `bytes` become root's. Sizes above kBroadcastBytesMax are refused with INTERNAL on
// all ranks.
inline constexpr size_t kBroadcastBytesMax = size_t{1} << 30;
Status broadcast_bytes(Comm& comm, std::vector<std::byte>& bytes, int root);

}  // namespace fathom
