// How do ranks sum when they can read each other's memory? Each copies its part into a buffer that
// all know and records an event; the threads meet, so that every event is recorded; then each
// stream waits for the others' events and a kernel reads all buffers in rank order. No thread waits
// for a GPU. What is large is summed by slices, one a rank, and the sums are copied: 2 reads of
// each element instead of one a rank.
//
// Buffers are used in turn. One is written again only two collectives later: by then this stream
// has waited for an event that every peer recorded behind its last read of it.
#include <algorithm>
#include <string>

#include "kernels/cuda/collectives.h"
#include "kernels/cuda/meeting.h"
#include "kernels/cuda/rank_sum.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom {
namespace cuda {
namespace {

constexpr int64_t kBuffer = int64_t{8} << 20;  // floats; longer collectives go piece by piece
// Floats from which slices are worth a second meeting: 1 MB read by each rank takes about as long
// as the launches that it costs.
constexpr int64_t kSliced = int64_t{1} << 18;

int64_t slice_of(int64_t count, int ranks) { return ceil_div(ceil_div(count, ranks), 4) * 4; }

// What the ranks share. It outlives all of them, so a peer may read the buffer of one that left.
class PeerGroup {
 public:
  explicit PeerGroup(int ranks) : ranks_(ranks), meeting_(ranks), seats_(size_t(ranks)) {}
  ~PeerGroup() {
    for (Seat& seat : seats_) {
      cudaSetDevice(seat.gpu);
      for (float* buffer : seat.buffer) cudaFree(buffer);  // waits for who still reads it
      for (cudaEvent_t event : seat.ready)
        if (event != nullptr) cudaEventDestroy(event);
    }
  }

  struct Seat {
    int gpu = 0;
    float* buffer[2] = {};
    cudaEvent_t ready[2] = {};  // used in turn, meeting by meeting
    int64_t count = 0;
  };

  int ranks() const { return ranks_; }
  Meeting& meeting() { return meeting_; }
  Seat& seat(int rank) { return seats_[static_cast<size_t>(rank)]; }

  Status furnish(int rank, int gpu) {
    Seat& own = seat(rank);
    own.gpu = gpu;
    cudaSetDevice(gpu);
    for (float*& buffer : own.buffer)
      if (cudaMalloc(&buffer, kBuffer * sizeof(float)) != cudaSuccess) {
        cudaGetLastError();
        buffer = nullptr;
        return Error{Code::resource_exhausted, "no memory for the buffers of a group", "device"};
      }
    for (cudaEvent_t& event : own.ready)
      if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess)
        return Error{Code::internal, "the GPU has no event for a group", "device"};
    return {};
  }

  RankParts parts(int turn, int64_t offset) const {
    RankParts parts = {};
    parts.ranks = ranks_;
    for (int r = 0; r < ranks_; ++r) parts.part[r] = seats_[size_t(r)].buffer[turn] + offset;
    return parts;
  }

  bool same_counts() const {
    for (const Seat& s : seats_)
      if (s.count != seats_[0].count) return false;
    return true;
  }

 private:
  const int ranks_;
  Meeting meeting_;
  std::vector<Seat> seats_;
};

class Peer final : public Collectives {
 public:
  Peer(std::shared_ptr<PeerGroup> group, CudaDevice& device, int rank)
      : group_(std::move(group)), device_(device), rank_(rank) {}
  ~Peer() override {
    group_->meeting().break_with(
        {Code::unavailable, "rank " + std::to_string(rank_) + " left the group", "rank"});
  }

  int rank() const override { return rank_; }
  int size() const override { return group_->ranks(); }
  bool recordable() const override { return false; }  // the threads meet each time

  Status all_reduce(float* data, int64_t count) override {
    FATHOM_CHECKED(begin());
    for (int64_t at = 0; at < count; at += kBuffer)
      FATHOM_CHECKED(reduce_piece(data + at, std::min(count - at, kBuffer)));
    return {};
  }

  Status all_gather(const float* part, float* out, int64_t count) override {
    FATHOM_CHECKED(begin());
    for (int64_t at = 0; at < count; at += kBuffer) {
      const int64_t piece = std::min(count - at, kBuffer);
      FATHOM_CHECKED(offer(part + at, piece));
      RankCounts counts = {};
      std::fill_n(counts.count, size(), piece);
      launch_rank_rows(device_, group_->parts(turn_, 0), counts, piece, out + at, count);
    }
    return {};
  }

  Status broadcast(TokenId* ids, int64_t count, int root) override {
    static_assert(sizeof(TokenId) == sizeof(float));
    FATHOM_CHECKED(begin());
    for (int64_t at = 0; at < count; at += kBuffer) {
      const int64_t piece = std::min(count - at, kBuffer);
      turn_ ^= 1;
      float* const through = group_->seat(root).buffer[turn_];
      if (rank_ == root) copy(through, ids + at, piece);
      FATHOM_CHECKED(together(piece));
      if (rank_ != root) copy(ids + at, through, piece);
    }
    return {};
  }

  Status finish() override {
    FATHOM_CHECKED(group_->meeting().status());
    return device_.wait();
  }
  Status finish(Download& mark) override {
    FATHOM_CHECKED(group_->meeting().status());
    if (const auto done = mark.finish(); !done.ok()) return done.error();
    return {};
  }

 private:
  // A rank whose GPU failed must not let the others go on with what it did not compute.
  Status begin() {
    cudaSetDevice(device_.index());
    if (!device_.failed()) return {};
    group_->meeting().break_with(
        {Code::unavailable, "the GPU of rank " + std::to_string(rank_) + " failed", "rank"});
    return device_.wait();
  }

  Status reduce_piece(float* data, int64_t count) {
    FATHOM_CHECKED(offer(data, count));
    if (size() == 1) return {};
    if (count < kSliced || size() == 2) {
      launch_rank_sum(device_, group_->parts(turn_, 0), data, count);
      return {};
    }
    const int64_t slice = slice_of(count, size());
    const auto length = [&](int r) { return std::clamp<int64_t>(count - r * slice, 0, slice); };
    // Nobody else reads this rank's slice of this rank's buffer.
    launch_rank_sum(device_, group_->parts(turn_, rank_ * slice),
                    group_->seat(rank_).buffer[turn_] + rank_ * slice, length(rank_));
    FATHOM_CHECKED(together(count));
    RankParts sums = group_->parts(turn_, 0);
    RankCounts counts = {};
    for (int r = 0; r < size(); ++r) {
      sums.part[r] += r * slice;
      counts.count[r] = length(r);
    }
    launch_rank_rows(device_, sums, counts, slice, data, slice);
    return {};
  }

  // Everybody's part is in its buffer for what this stream does next.
  Status offer(const float* part, int64_t count) {
    turn_ ^= 1;
    copy(group_->seat(rank_).buffer[turn_], part, count);
    return together(count);
  }

  void copy(void* to, const void* from, int64_t count) {
    device_.check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(float),
                                  cudaMemcpyDeviceToDevice, device_.stream()),
                  "collective");
  }

  // This stream goes on where all have come to in theirs.
  Status together(int64_t count) {
    event_ ^= 1;
    PeerGroup::Seat& own = group_->seat(rank_);
    own.count = count;
    device_.check(cudaEventRecord(own.ready[event_], device_.stream()), "collective");
    FATHOM_CHECKED(group_->meeting().meet([&]() -> Status {
      if (group_->same_counts()) return {};
      return Error{Code::internal, "the ranks of a group disagree about the size of a collective",
                   "size"};
    }));
    for (int r = 0; r < size(); ++r)
      if (r != rank_)
        device_.check(cudaStreamWaitEvent(device_.stream(), group_->seat(r).ready[event_], 0),
                      "collective");
    return {};
  }

  const std::shared_ptr<PeerGroup> group_;
  CudaDevice& device_;
  const int rank_;
  int turn_ = 0, event_ = 0;
};

// `from` reads the memory of `to`.
Status reach(int from, int to) {
  if (from == to) return {};
  int can = 0;
  cudaDeviceCanAccessPeer(&can, from, to);
  cudaSetDevice(from);
  const cudaError_t error = can ? cudaDeviceEnablePeerAccess(to, 0) : cudaErrorInvalidDevice;
  cudaGetLastError();
  if (error == cudaSuccess || error == cudaErrorPeerAccessAlreadyEnabled) return {};
  return Error{
      Code::failed_precondition,
      "GPU " + std::to_string(from) + " can not read the memory of GPU " + std::to_string(to),
      "device"};
}

}  // namespace
}  // namespace cuda

Result<std::vector<std::unique_ptr<Collectives>>> make_peer_collectives(
    std::span<Device* const> devices) {
  if (devices.empty() || devices.size() > cuda::kMaxRanks)
    return invalid("a group on GPUs has 1 to " + std::to_string(cuda::kMaxRanks) + " ranks",
                   "ranks");
  const auto gpu = [&](size_t i) -> cuda::CudaDevice& {
    return static_cast<cuda::CudaDevice&>(*devices[i]);
  };
  for (size_t i = 0; i < devices.size(); ++i)
    for (size_t j = 0; j < devices.size(); ++j)
      FATHOM_CHECKED(cuda::reach(gpu(i).index(), gpu(j).index()));
  auto group = std::make_shared<cuda::PeerGroup>(static_cast<int>(devices.size()));
  std::vector<std::unique_ptr<Collectives>> ranks;
  for (size_t i = 0; i < devices.size(); ++i)
    FATHOM_CHECKED(group->furnish(static_cast<int>(i), gpu(i).index()));
  for (size_t i = 0; i < devices.size(); ++i)
    ranks.push_back(std::make_unique<cuda::Peer>(group, gpu(i), static_cast<int>(i)));
  return Result<std::vector<std::unique_ptr<Collectives>>>(std::move(ranks));
}

}  // namespace fathom
