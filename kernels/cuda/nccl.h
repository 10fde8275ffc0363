// Which functions of NCCL are used, and how are they got? By name from libnccl.so.2, when a group
// of processes is made: neither a build nor a single GPU needs it. Declared here as NCCL 2.14 and
// later have them; its header is not needed.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <string>

#include "base/result.h"

namespace fathom::cuda {

struct NcclComm;  // theirs

enum NcclResult : int { kNcclSuccess = 0, kNcclInProgress = 7 };
constexpr int kNcclInt32 = 2, kNcclFloat32 = 7;

struct NcclUniqueId {
  std::array<std::byte, 128> bytes;
};

// ncclConfig_t as of 2.14; `size` and `version` tell later ones how much of theirs it is.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
  int padding = 0;
};

struct Nccl {
  NcclResult (*get_unique_id)(NcclUniqueId*);
  NcclResult (*init)(NcclComm**, int ranks, NcclUniqueId, int rank, NcclConfig*);
  NcclResult (*all_gather)(const void* part, void* out, size_t count, int type, NcclComm*,
                           cudaStream_t);
  NcclResult (*broadcast)(const void* from, void* to, size_t count, int type, int root, NcclComm*,
                          cudaStream_t);
  NcclResult (*send)(const void*, size_t count, int type, int peer, NcclComm*, cudaStream_t);
  NcclResult (*receive)(void*, size_t count, int type, int peer, NcclComm*, cudaStream_t);
  NcclResult (*group_start)();
  NcclResult (*group_end)();
  NcclResult (*async_error)(NcclComm*, NcclResult*);
  NcclResult (*abort)(NcclComm*);
  const char* (*error_text)(NcclResult);
};

// FAILED_PRECONDITION naming "libnccl.so.2", with the loader's words.
Result<Nccl> load_nccl();

}  // namespace fathom::cuda
