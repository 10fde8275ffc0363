// How do ranks on GPUs of several processes sum? NCCL carries the parts; they are added here, in
// rank order, because the order in which NCCL itself adds depends on its algorithm, the topology
// and the size. Small ones are gathered whole; large ones are dealt out in slices, one a rank, and
// the sums gathered: each rank sends and receives twice the data, as in a ring.
//
// The communicator does not block: whoever waits for a peer, to join or to finish, looks at the
// time and at NCCL's own errors, and aborts, which also ends the kernels that wait on the GPU. So
// does the device where it has to wait for itself: for room among uploads, to release memory.
#include "kernels/cuda/nccl.h"

#include <dlfcn.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "kernels/cuda/collectives.h"
#include "kernels/cuda/rank_sum.cuh"

namespace fathom {
namespace cuda {
namespace {

constexpr int64_t kBuffer = int64_t{8} << 20;   // floats; longer collectives go piece by piece
constexpr int64_t kSliced = int64_t{64} << 10;  // floats from which 2/ranks of the bytes win

class NcclRank final : public Collectives {
 public:
  NcclRank(const Nccl& nccl, CudaDevice& device, const NcclGroup& group)
      : nccl_(nccl), device_(device), group_(group) {}
  ~NcclRank() override {
    device_.wait_by({});
    if (comm_ != nullptr) nccl_.abort(comm_);
    device_.release(parts_);
    device_.release(sums_);
  }

  Status join() {
    cudaSetDevice(device_.index());
    const auto buffer = [&] { return static_cast<float*>(device_.allocate(kBytes)); };
    if ((parts_ = buffer()) == nullptr || (sums_ = buffer()) == nullptr)
      return Error{Code::resource_exhausted, "no memory for the buffers of a group", "device"};
    NcclUniqueId id = {group_.id};
    NcclConfig config;
    FATHOM_CHECKED(settle(nccl_.init(&comm_, group_.size, id, group_.rank, &config), "joining"));
    // A group that was given up here says so at its next call.
    device_.wait_by([this](const auto& done) { static_cast<void>(wait_for(done)); });
    return {};
  }

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }
  bool recordable() const override { return true; }
  // Whether a call was recorded or said is all the same to the others.
  Result<int32_t> agree(int32_t word) override { return word; }

  Status all_reduce(float* data, int64_t count) override {
    FATHOM_CHECKED(begin());
    const int64_t most = count < kSliced ? kBuffer / size() : kBuffer - 4 * size();
    for (int64_t at = 0; at < count; at += most) {
      const int64_t piece = std::min(count - at, most);
      FATHOM_CHECKED(count < kSliced ? reduce_whole(data + at, piece)
                                     : reduce_sliced(data + at, piece));
    }
    return {};
  }

  Status all_gather(const float* part, float* out, int64_t count) override {
    FATHOM_CHECKED(begin());
    return gather(part, out, count);
  }

  Status broadcast(TokenId* ids, int64_t count, int root) override {
    static_assert(sizeof(TokenId) == 4);
    FATHOM_CHECKED(begin());
    return settle(nccl_.broadcast(ids, ids, static_cast<size_t>(count), kNcclInt32, root, comm_,
                                  device_.stream()),
                  "broadcast");
  }

  Status finish() override {
    FATHOM_CHECKED(wait_for([&] { return is_over(cudaStreamQuery(device_.stream())); }));
    return device_.wait();
  }
  Status finish(Download& mark) override {
    FATHOM_CHECKED(wait_for([&] { return mark.done(); }));
    if (const auto done = mark.finish(); !done.ok()) return done.error();
    return {};
  }
  Status status() override { return broken_ ? Status(*broken_) : Status(); }

 private:
  template <class Done>
  Status wait_for(const Done& done) {
    FATHOM_CHECKED(begin());
    const Instant deadline = clock_.now() + group_.timeout;
    while (!done()) {
      NcclResult result = kNcclSuccess;
      nccl_.async_error(comm_, &result);
      if (result != kNcclSuccess && result != kNcclInProgress)
        return give_up(std::string("a peer failed: ") + nccl_.error_text(result));
      if (clock_.now() > deadline) return give_up("a peer did not come to a collective in time");
      std::this_thread::yield();
    }
    return {};
  }

  static constexpr size_t kBytes = size_t{kBuffer} * sizeof(float);

  Status begin() {
    if (broken_) return *broken_;
    cudaSetDevice(device_.index());
    return {};
  }

  Status gather(const float* part, float* out, int64_t count) {
    return settle(nccl_.all_gather(part, out, static_cast<size_t>(count), kNcclFloat32, comm_,
                                   device_.stream()),
                  "all_gather");
  }

  Status reduce_whole(float* data, int64_t count) {
    FATHOM_CHECKED(gather(data, parts_, count));
    sum(count, count, data);
    return {};
  }

  Status reduce_sliced(float* data, int64_t count) {
    const int64_t slice = ceil_div(ceil_div(count, size()), 4) * 4;
    const auto length = [&](int r) {
      return static_cast<size_t>(std::clamp<int64_t>(count - r * slice, 0, slice));
    };
    FATHOM_CHECKED(settle(nccl_.group_start(), "all_reduce"));
    NcclResult result = kNcclSuccess;
    for (int r = 0; r < size() && result == kNcclSuccess; ++r) {
      if (length(r) > 0)
        result = nccl_.send(data + r * slice, length(r), kNcclFloat32, r, comm_, device_.stream());
      if (length(rank()) > 0 && result == kNcclSuccess)
        result = nccl_.receive(parts_ + r * slice, length(rank()), kNcclFloat32, r, comm_,
                               device_.stream());
    }
    const NcclResult ended = nccl_.group_end();
    FATHOM_CHECKED(settle(result == kNcclSuccess ? ended : result, "all_reduce"));
    sum(slice, static_cast<int64_t>(length(rank())), sums_ + rank() * slice);
    FATHOM_CHECKED(gather(sums_ + rank() * slice, sums_, slice));
    device_.copy(data, sums_, static_cast<size_t>(count) * sizeof(float));
    return {};
  }

  // to[i] = the parts, `stride` apart, in rank order.
  void sum(int64_t stride, int64_t count, float* to) {
    RankParts parts = {};
    parts.ranks = size();
    for (int r = 0; r < size(); ++r) parts.part[r] = parts_ + r * stride;
    if (count > 0) launch_rank_sum(device_, parts, to, count);
  }

  // What was said is under way: NCCL may still make connections in a thread of its own.
  Status settle(NcclResult result, const char* what) {
    const Instant deadline = clock_.now() + group_.timeout;
    while (result == kNcclInProgress) {
      if (nccl_.async_error(comm_, &result) != kNcclSuccess) break;
      if (result == kNcclInProgress && clock_.now() > deadline)
        return give_up(std::string("a peer did not come in time (") + what + ")");
      if (result == kNcclInProgress) std::this_thread::yield();
    }
    if (result == kNcclSuccess) return {};
    return give_up(std::string("NCCL failed in ") + what + ": " + nccl_.error_text(result));
  }

  Error give_up(std::string why) {
    if (comm_ != nullptr) nccl_.abort(comm_);
    comm_ = nullptr;
    broken_ = Error{Code::unavailable, std::move(why), "rank"};
    return *broken_;
  }

  const Nccl nccl_;
  CudaDevice& device_;
  const NcclGroup group_;
  const SystemClock clock_;
  NcclComm* comm_ = nullptr;
  float* parts_ = nullptr;  // everybody's, or everybody's of this rank's slice
  float* sums_ = nullptr;
  std::optional<Error> broken_;
};

}  // namespace

Result<Nccl> load_nccl() {
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  const char* missing = nullptr;
  const auto find = [&](auto*& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr && missing == nullptr) missing = name;
  };
  const auto refused = [](const std::string& why) {
    return Error{Code::failed_precondition, "a group of processes on GPUs needs NCCL: " + why,
                 "libnccl.so.2"};
  };
  if (library == nullptr) return refused(dlerror());
  Nccl nccl = {};
  find(nccl.get_unique_id, "ncclGetUniqueId");
  find(nccl.init, "ncclCommInitRankConfig");
  find(nccl.all_gather, "ncclAllGather");
  find(nccl.broadcast, "ncclBroadcast");
  find(nccl.send, "ncclSend");
  find(nccl.receive, "ncclRecv");
  find(nccl.group_start, "ncclGroupStart");
  find(nccl.group_end, "ncclGroupEnd");
  find(nccl.async_error, "ncclCommGetAsyncError");
  find(nccl.abort, "ncclCommAbort");
  find(nccl.error_text, "ncclGetErrorString");
  if (missing != nullptr) return refused(std::string("it is older than 2.14, without ") + missing);
  return nccl;
}

}  // namespace cuda

Result<NcclId> make_nccl_id() {
  FATHOM_TRY(const cuda::Nccl nccl, cuda::load_nccl());
  cuda::NcclUniqueId id = {};
  const cuda::NcclResult result = nccl.get_unique_id(&id);
  if (result != cuda::kNcclSuccess)
    return Error{Code::unavailable, std::string("NCCL has no id: ") + nccl.error_text(result),
                 "libnccl.so.2"};
  return id.bytes;
}

Result<std::unique_ptr<Collectives>> make_nccl_collectives(Device& device, const NcclGroup& group) {
  if (group.size < 1 || group.size > cuda::kMaxRanks || group.rank < 0 || group.rank >= group.size)
    return invalid("a group on GPUs has 1 to " + std::to_string(cuda::kMaxRanks) + " ranks",
                   "ranks");
  FATHOM_TRY(const cuda::Nccl nccl, cuda::load_nccl());
  auto rank = std::make_unique<cuda::NcclRank>(nccl, static_cast<cuda::CudaDevice&>(device), group);
  FATHOM_CHECKED(rank->join());
  return Result<std::unique_ptr<Collectives>>(std::move(rank));
}

}  // namespace fathom
