// How do ranks on emulated GPUs of one process reach each other through NCCL? By mail: what a rank
// sends is put into a box when its stream comes to it, and the stream goes on when all that it
// receives is there. Nobody is given up here: a rank that sends nothing lets the others wait until
// they abort. The functions are those that kernels/cuda/nccl.h names.
#include "kernels/cuda/nccl.h"

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "tests/gpu/emulator/runtime.h"

namespace {

using emulated::Locked;
using fathom::cuda::kNcclInProgress;
using fathom::cuda::kNcclSuccess;
using fathom::cuda::NcclConfig;
using fathom::cuda::NcclResult;
using fathom::cuda::NcclUniqueId;

constexpr size_t kWord = 4;  // bytes of an int32 and of a float32

struct Group {
  int joined = 0;
  std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> mail;  // from, to
};

// One collective of one rank.
struct Exchange {
  struct Part {
    int peer;
    void* at;
    size_t bytes;
  };
  std::vector<Part> sends, receives;
};

}  // namespace

namespace fathom::cuda {
struct NcclComm {
  std::shared_ptr<Group> group;
  int ranks = 0, rank = 0;
  std::shared_ptr<bool> aborted = std::make_shared<bool>(false);
};
}  // namespace fathom::cuda

namespace {

using fathom::cuda::NcclComm;

std::map<std::array<std::byte, 128>, std::shared_ptr<Group>>& groups() {
  static std::map<std::array<std::byte, 128>, std::shared_ptr<Group>> all;
  return all;
}

// Between group_start and group_end, of this thread.
struct Gathered {
  bool open = false;
  NcclComm* comm = nullptr;
  cudaStream_t stream = nullptr;
  Exchange exchange;
};
Gathered& gathered() {
  thread_local Gathered mine;
  return mine;
}

void say(const NcclComm& comm, cudaStream_t raw, const Exchange& exchange) {
  const auto stream = emulated::open_stream(raw);
  const int gpu = stream->gpu();
  stream->say([=, group = comm.group, aborted = comm.aborted, rank = comm.rank] {
    const auto sent = std::make_shared<bool>(false);
    const auto ready = [=] {
      if (*aborted) return true;
      if (emulated::machine().silent.contains(gpu)) return false;
      if (!std::exchange(*sent, true))
        for (const auto& part : exchange.sends) {
          const auto* bytes = static_cast<const std::byte*>(part.at);
          group->mail[{rank, part.peer}].emplace_back(bytes, bytes + part.bytes);
        }
      for (const auto& part : exchange.receives)
        if (group->mail[{part.peer, rank}].empty()) return false;
      return true;
    };
    const auto take = [=] {
      if (*aborted) return;
      for (const auto& part : exchange.receives) {
        auto& box = group->mail[{part.peer, rank}];
        std::memcpy(part.at, box.front().data(), part.bytes);
        box.pop_front();
      }
    };
    return emulated::Work{take, nullptr, ready};
  });
}

void add(NcclComm* comm, cudaStream_t stream, const Exchange::Part& part, bool sends) {
  Gathered& g = gathered();
  g.comm = comm;
  g.stream = stream;
  (sends ? g.exchange.sends : g.exchange.receives).push_back(part);
}

}  // namespace

extern "C" {

NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  const Locked locked;
  static uint32_t made = 0;
  *id = {};
  std::memcpy(id->bytes.data(), &++made, sizeof(made));
  return kNcclSuccess;
}

NcclResult ncclCommInitRankConfig(NcclComm** comm, int ranks, NcclUniqueId id, int rank,
                                  NcclConfig*) {
  const Locked locked;
  auto& group = groups()[id.bytes];
  if (!group) group = std::make_shared<Group>();
  ++group->joined;
  *comm = new NcclComm{group, ranks, rank};
  return kNcclInProgress;
}

NcclResult ncclAllGather(const void* part, void* out, size_t count, int, NcclComm* comm,
                         cudaStream_t stream) {
  const Locked locked;
  Exchange all;
  for (int r = 0; r < comm->ranks; ++r) {
    all.sends.push_back({r, const_cast<void*>(part), count * kWord});
    all.receives.push_back(
        {r, static_cast<std::byte*>(out) + static_cast<size_t>(r) * count * kWord, count * kWord});
  }
  say(*comm, stream, all);
  return kNcclSuccess;
}

NcclResult ncclBroadcast(const void* from, void* to, size_t count, int, int root, NcclComm* comm,
                         cudaStream_t stream) {
  const Locked locked;
  Exchange all;
  if (comm->rank == root)
    for (int r = 0; r < comm->ranks; ++r)
      all.sends.push_back({r, const_cast<void*>(from), count * kWord});
  all.receives.push_back({root, to, count * kWord});
  say(*comm, stream, all);
  return kNcclSuccess;
}

NcclResult ncclSend(const void* from, size_t count, int, int peer, NcclComm* comm,
                    cudaStream_t stream) {
  add(comm, stream, {peer, const_cast<void*>(from), count * kWord}, true);
  return kNcclSuccess;
}
NcclResult ncclRecv(void* to, size_t count, int, int peer, NcclComm* comm, cudaStream_t stream) {
  add(comm, stream, {peer, to, count * kWord}, false);
  return kNcclSuccess;
}
NcclResult ncclGroupStart() {
  gathered() = {.open = true};
  return kNcclSuccess;
}
NcclResult ncclGroupEnd() {
  const Locked locked;
  const Gathered all = std::exchange(gathered(), {});
  if (all.comm != nullptr) say(*all.comm, all.stream, all.exchange);
  return kNcclSuccess;
}

NcclResult ncclCommGetAsyncError(NcclComm* comm, NcclResult* result) {
  const Locked locked;
  *result = comm->group->joined < comm->ranks ? kNcclInProgress : kNcclSuccess;
  return kNcclSuccess;
}
NcclResult ncclCommAbort(NcclComm* comm) {
  const Locked locked;
  *comm->aborted = true;
  delete comm;
  return kNcclSuccess;
}
const char* ncclGetErrorString(NcclResult) { return "an error of the emulated NCCL"; }

}  // extern "C"
