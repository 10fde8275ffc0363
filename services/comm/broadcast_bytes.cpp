// What guards a size read from a peer? A ceiling, so that a damaged frame can not ask for all
// memory.
#include "comm/broadcast_bytes.h"

#include <cstdint>

namespace fathom {

Status broadcast_bytes(Comm& comm, std::vector<std::byte>& bytes, int root) {
  uint64_t size = bytes.size();
  FATHOM_CHECKED(comm.broadcast(std::as_writable_bytes(std::span(&size, 1)), root));
  if (size > kBroadcastBytesMax)
    return Error{Code::internal, "a broadcast of " + std::to_string(size) + " bytes is too large",
                 "size"};
  bytes.resize(size);
  return size == 0 ? Status() : comm.broadcast(bytes, root);
}

}  // namespace fathom
