// How do ranks sum when they can read each other's memory? Each copies its part into a buffer that
// all know and records an event; the threads meet, so that every event is recorded; then each
// stream waits for the others' events and a kernel reads all buffers in rank order. No thread waits
// for a GPU. What is large is summed by slices, one a rank, and the sums are copied: 2 reads of
// each element instead of one a rank.
//
// What is recorded has no threads that could meet: there kernels wait for each other
// (peer_step.cuh), if every rank has a GPU of its own, through buffers of their own. Ranks record
// and replay alike (Device::replay), and what is said in between meets as ever.
//
// Buffers are used in turn. One is written again only two collectives later: by then this stream
// has waited for an event that every peer recorded behind its last read of it.
#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>

#include "kernels/cuda/collectives.h"
#include "kernels/cuda/meeting.h"
#include "kernels/cuda/peer_step.cuh"
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
  PeerGroup(int ranks, Duration patience)
      : ranks_(ranks), patience_(patience), meeting_(ranks), seats_(size_t(ranks)) {}
  ~PeerGroup() {
    for (Seat& seat : seats_) {
      cudaSetDevice(seat.gpu);
      for (float* buffer : seat.buffer) cudaFree(buffer);  // waits for who still reads it
      for (float* through : seat.through) cudaFree(through);
      cudaFree(seat.words);
      for (cudaEvent_t event : seat.ready)
        if (event != nullptr) cudaEventDestroy(event);
    }
    if (stop_ != nullptr) cudaFreeHost(stop_);
  }

  struct Seat {
    int gpu = 0;
    float* buffer[2] = {};
    cudaEvent_t ready[2] = {};  // used in turn, meeting by meeting
    int64_t count = 0;
    int32_t word = 0;
    float* through[2] = {};      // of what is recorded
    PeerWords* words = nullptr;  // the same; null: it can not be
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

  // Where each rank has a GPU of its own.
  Status furnish_recording(std::span<Device* const> devices) {
    void* stop = nullptr;
    if (cudaMallocHost(&stop, sizeof(uint32_t)) != cudaSuccess)
      return Error{Code::resource_exhausted, "no pinned memory for a group", "device"};
    stop_ = static_cast<uint32_t*>(stop);
    *stop_ = 0;
    blocks_ = kPeerBlocks;
    for (int r = 0; r < ranks_; ++r) {
      auto& device = static_cast<CudaDevice&>(*devices[size_t(r)]);
      Seat& own = seat(r);
      blocks_ = std::clamp(device.multiprocessors() / 4, 1, blocks_);
      own.words = static_cast<PeerWords*>(device.allocate(sizeof(PeerWords)));
      for (float*& through : own.through)
        through = static_cast<float*>(device.allocate(kThrough * sizeof(float)));
      if (own.words == nullptr || own.through[0] == nullptr || own.through[1] == nullptr)
        return Error{Code::resource_exhausted, "no memory for the buffers of a group", "device"};
      device.fill_zero(own.words, sizeof(PeerWords));
      FATHOM_CHECKED(device.wait());
    }
    return {};
  }
  bool recordable() const { return stop_ != nullptr; }
  int blocks() const { return blocks_; }

  PeerStep step(int rank) const {
    PeerStep s{.rank = rank,
               .ranks = ranks_,
               .stop = stop_,
               .patience_ns = static_cast<uint64_t>(patience_.ns)};
    for (int r = 0; r < ranks_; ++r) {
      s.words[r] = seats_[size_t(r)].words;
      for (int turn = 0; turn < 2; ++turn) s.through[turn][r] = seats_[size_t(r)].through[turn];
    }
    return s;
  }

  // Nobody waits any more, neither a thread nor a GPU.
  void break_with(int rank, std::string why) {
    meeting_.break_with({Code::unavailable, std::move(why), "rank"});
    if (stop_ == nullptr) return;
    uint32_t none = 0;
    std::atomic_ref(*stop_).compare_exchange_strong(none, static_cast<uint32_t>(rank) + 1);
  }
  void break_with_gpu(int rank) {
    break_with(rank, "the GPU of rank " + std::to_string(rank) + " failed");
  }
  // Whoever waits for a step, or has come to its end, asks: the host of a GPU that failed may not
  // look at it for long, and streams that wait for its events may go on with what it never
  // computed.
  void look_at_other_gpus(int rank) {
    for (int r = 0; r < ranks_; ++r) {
      if (r == rank) continue;
      cudaSetDevice(seat(r).gpu);
      const cudaError_t answer = cudaEventQuery(seat(r).ready[0]);
      if (!is_over(answer) || answer == cudaSuccess) continue;
      cudaGetLastError();
      break_with_gpu(r);
    }
  }
  Status status() {
    const uint32_t missing = stop_ != nullptr ? std::atomic_ref(*stop_).load() : 0;
    if (missing != 0)  // unless a thread said more
      meeting_.break_with(
          {Code::unavailable,
           "rank " + std::to_string(missing - 1) + " did not come to a collective in time",
           "rank"});
    return meeting_.status();
  }

  int32_t least = 0;  // of the ranks' words, by who came last
  int32_t least_word() const {
    int32_t word = seats_[0].word;
    for (const Seat& s : seats_) word = std::min(word, s.word);
    return word;
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
  const Duration patience_;
  Meeting meeting_;
  std::vector<Seat> seats_;
  uint32_t* stop_ = nullptr;  // PeerStep::stop; null: no GPU waits for another
  int blocks_ = 0;
};

class Peer final : public Collectives {
 public:
  Peer(std::shared_ptr<PeerGroup> group, CudaDevice& device, int rank)
      : group_(std::move(group)), device_(device), rank_(rank) {}
  ~Peer() override {
    group_->break_with(rank_, "rank " + std::to_string(rank_) + " left the group");
  }

  int rank() const override { return rank_; }
  int size() const override { return group_->ranks(); }
  bool recordable() const override { return group_->recordable(); }

  Result<int32_t> agree(int32_t word) override {
    FATHOM_CHECKED(begin());
    group_->seat(rank_).word = word;
    FATHOM_CHECKED(group_->meeting().meet([&]() -> Status {
      group_->least = group_->least_word();
      return {};
    }));
    return group_->least;
  }

  Status all_reduce(float* data, int64_t count) override {
    FATHOM_CHECKED(begin());
    if (recording()) return record_sum(data, count);
    for (int64_t at = 0; at < count; at += kBuffer)
      FATHOM_CHECKED(reduce_piece(data + at, std::min(count - at, kBuffer)));
    return {};
  }

  Status all_gather(const float* part, float* out, int64_t count) override {
    FATHOM_CHECKED(begin());
    if (recording()) return record_rows(part, out, count, 0, size());
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
    auto* const words = reinterpret_cast<float*>(ids);
    if (recording()) return record_rows(words, words, count, root, root + 1);
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
    FATHOM_CHECKED(group_->status());
    FATHOM_CHECKED(device_.wait());
    return group_->status();
  }
  // What has broken the group is known before this GPU has got to the mark, or never gets there.
  Status finish(Download& mark) override {
    while (!mark.done()) {
      FATHOM_CHECKED(status());
      std::this_thread::yield();
    }
    FATHOM_CHECKED(group_->status());
    if (const auto done = mark.finish(); !done.ok()) {
      group_->break_with_gpu(rank_);
      return done.error();
    }
    look_at_other_gpus();
    return group_->status();
  }
  Status status() override {
    constexpr Duration kLooks = Duration::ms(10);  // between two at the other GPUs
    if (clock_.now() - looked_ > kLooks) look_at_other_gpus();
    return group_->status();
  }

 private:
  // A rank whose GPU failed must not let the others go on with what it did not compute.
  Status begin() {
    cudaSetDevice(device_.index());
    if (!device_.failed()) return {};
    group_->break_with_gpu(rank_);
    return device_.wait();
  }

  void look_at_other_gpus() {
    looked_ = clock_.now();
    group_->look_at_other_gpus(rank_);
    device_.use();
  }

  bool recording() const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    device_.check(cudaStreamIsCapturing(device_.stream(), &status), "collective");
    return status == cudaStreamCaptureStatusActive;
  }

  Status record_sum(float* data, int64_t count) {
    PeerStep s = group_->step(rank_);
    if (size() > 2 && count >= kSliced) s.work = PeerWork::sum_sliced;
    const int64_t most = kThrough - 4 * size();  // slices are whole quads
    for (int64_t at = 0; at < count; at += most) {
      s.part = s.out = data + at;
      s.count = std::min(count - at, most);
      launch_peer_step(device_, s, group_->blocks(), "all_reduce");
    }
    return {};
  }

  // The parts of ranks `first` to `last` side by side.
  Status record_rows(const float* part, float* out, int64_t count, int first, int last) {
    PeerStep s = group_->step(rank_);
    s.work = PeerWork::rows;
    s.first = first;
    s.last = last;
    s.out_stride = count;
    for (int64_t at = 0; at < count; at += kThrough) {
      s.part = part + at;
      s.out = out + at;
      s.count = std::min(count - at, kThrough);
      launch_peer_step(device_, s, group_->blocks(), "all_gather");
    }
    return {};
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
  const SystemClock clock_;
  Instant looked_;  // at the other GPUs
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
    std::span<Device* const> devices, Duration patience) {
  if (devices.empty() || devices.size() > cuda::kMaxRanks)
    return invalid("a group on GPUs has 1 to " + std::to_string(cuda::kMaxRanks) + " ranks",
                   "ranks");
  const auto gpu = [&](size_t i) -> cuda::CudaDevice& {
    return static_cast<cuda::CudaDevice&>(*devices[i]);
  };
  for (size_t i = 0; i < devices.size(); ++i)
    for (size_t j = 0; j < devices.size(); ++j)
      FATHOM_CHECKED(cuda::reach(gpu(i).index(), gpu(j).index()));
  auto group = std::make_shared<cuda::PeerGroup>(static_cast<int>(devices.size()), patience);
  std::vector<std::unique_ptr<Collectives>> ranks;
  for (size_t i = 0; i < devices.size(); ++i)
    FATHOM_CHECKED(group->furnish(static_cast<int>(i), gpu(i).index()));
  std::set<int> gpus;
  for (size_t i = 0; i < devices.size(); ++i) gpus.insert(gpu(i).index());
  if (gpus.size() == devices.size() && gpus.size() > 1)
    FATHOM_CHECKED(group->furnish_recording(devices));
  for (size_t i = 0; i < devices.size(); ++i)
    ranks.push_back(std::make_unique<cuda::Peer>(group, gpu(i), static_cast<int>(i)));
  return Result<std::vector<std::unique_ptr<Collectives>>>(std::move(ranks));
}

}  // namespace fathom
