// How do threads meet? A counter and a round number: the last to arrive starts the next round and
// wakes the rest, who spin for a few microseconds and then sleep. A rank that leaves, or a link
// that fails, starts a round too and leaves its error behind, so nobody sleeps for ever.
#include "comm/group.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <string>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int kSpins = 2000;  // loads of one cached word: about 2 us

class Group {
 public:
  Group(const GroupShape& shape, std::unique_ptr<Link> link)
      : shape_(shape),
        link_(std::move(link)),
        parts_(static_cast<size_t>(shape.threads)),
        sums_(parts_.size()) {}

  const GroupShape& shape() const { return shape_; }
  int ranks() const { return shape_.threads * shape_.processes; }
  Link* link() { return link_.get(); }
  std::span<const float>& part(int thread) { return parts_[static_cast<size_t>(thread)]; }
  Parts parts() const { return parts_; }
  // The same where the threads put sums in place of them.
  float*& sums(int thread) { return sums_[static_cast<size_t>(thread)]; }
  std::vector<float>& result() { return result_; }
  std::span<std::byte>& bytes() { return bytes_; }

  // Returns when all threads of this process have come. The last one runs `last` before anybody
  // goes on. A meeting that took place is a success even if somebody left right after it.
  template <class F>
  Status meet(F&& last) {
    if (broken_.load(std::memory_order_acquire)) return error();
    const uint32_t round = round_.load(std::memory_order_acquire);
    const uint32_t held = held_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == shape_.threads - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      if (const Status status = last(); !status.ok()) break_with(status.error());
      if (broken_.load(std::memory_order_acquire)) return error();
      held_.fetch_add(1, std::memory_order_release);
      next_round();
      return {};
    }
    await(round);
    if (held_.load(std::memory_order_acquire) != held) return {};
    return error();
  }
  Status meet() {
    return meet([] { return Status(); });
  }

  // The first error stays.
  void break_with(Error e) {
    {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::move(e);
    }
    broken_.store(true, std::memory_order_release);
    next_round();
  }
  void leave(int rank) {
    break_with({Code::unavailable, "rank " + std::to_string(rank) + " left the group", "rank"});
  }

  bool same_sizes() const {
    return std::all_of(parts_.begin(), parts_.end(),
                       [&](auto p) { return p.size() == parts_[0].size(); });
  }

 private:
  Error error() {
    const std::lock_guard lock(mutex_);
    return *error_;
  }
  void next_round() {
    round_.fetch_add(1, std::memory_order_acq_rel);
    round_.notify_all();
  }
  void await(uint32_t round) {
    for (int i = 0; i < kSpins; ++i)
      if (round_.load(std::memory_order_acquire) != round) return;
    round_.wait(round, std::memory_order_acquire);
  }

  const GroupShape shape_;
  const std::unique_ptr<Link> link_;
  std::vector<std::span<const float>> parts_;
  std::vector<float*> sums_;
  std::vector<float> result_;
  std::span<std::byte> bytes_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> round_{0};  // moves at a meeting and when the group breaks
  std::atomic<uint32_t> held_{0};               // meetings that took place
  std::atomic<bool> broken_{false};
  std::mutex mutex_;
  std::optional<Error> error_;
};

class Rank final : public Comm {
 public:
  Rank(std::shared_ptr<Group> group, int thread)
      : group_(std::move(group)), thread_(thread), threads_(group_->shape().threads) {}
  ~Rank() override { group_->leave(rank()); }

  int rank() const override { return group_->shape().process * threads_ + thread_; }
  int size() const override { return group_->ranks(); }

  Status all_reduce(std::span<float> data) override {
    if (!group_->link()) return add_among_threads(data);
    FATHOM_CHECKED(publish(data, data.size()));
    link([&](Link& l) { return l.all_reduce(group_->parts(), result(data.size())); });
    FATHOM_CHECKED(group_->meet());
    std::copy_n(group_->result().begin(), data.size(), data.begin());
    return {};
  }

  Status all_gather(std::span<const float> data, std::span<float> out) override {
    CHECK(out.size() == data.size() * static_cast<size_t>(size()));
    FATHOM_CHECKED(publish(data, out.size()));
    if (group_->link())
      link([&](Link& l) { return l.all_gather(group_->parts(), result(out.size())); });
    else
      std::copy(data.begin(), data.end(),
                group_->result().begin() + static_cast<std::ptrdiff_t>(data.size()) * thread_);
    FATHOM_CHECKED(group_->meet());
    std::copy_n(group_->result().begin(), out.size(), out.begin());
    return {};
  }

  Status broadcast(std::span<std::byte> data, int root) override {
    CHECK(root >= 0 && root < size());
    const int process = root / threads_;
    const bool here = process == group_->shape().process;
    // The bytes pass through the root's own span, or through the first thread's where the root is
    // elsewhere.
    if (thread_ == (here ? root % threads_ : 0)) group_->bytes() = data;
    FATHOM_CHECKED(group_->meet());
    if (group_->bytes().size() != data.size()) {
      group_->break_with(disagreement());
      return disagreement();
    }
    if (group_->link()) {
      link([&](Link& l) { return l.broadcast(group_->bytes(), process); });
      FATHOM_CHECKED(group_->meet());
    }
    if (data.data() != group_->bytes().data())
      std::copy(group_->bytes().begin(), group_->bytes().end(), data.begin());
    return group_->meet();  // the root may change its bytes only when all have copied
  }

  // Without another process one meeting is enough: there is nothing to copy.
  Status barrier() override { return group_->link() ? all_reduce({}) : group_->meet(); }

 private:
  // All ranks of this process have named their data, and there is room for the result. Nobody reads
  // the last result any more: everyone copied it before coming here.
  Status publish(std::span<const float> data, size_t result) {
    group_->part(thread_) = data;
    return group_->meet([&]() -> Status {
      if (!group_->same_sizes()) return disagreement();
      group_->result().resize(std::max(group_->result().size(), result));
      return {};
    });
  }

  std::span<float> result(size_t size) { return std::span(group_->result()).first(size); }

  // Each thread adds a share of the elements over all ranks and puts the sums where the parts were:
  // nobody else reads or writes there meanwhile.
  Status add_among_threads(std::span<float> data) {
    group_->sums(thread_) = data.data();
    FATHOM_CHECKED(publish(data, 0));
    const auto begin_of = [&](int thread) {
      return data.size() * static_cast<size_t>(thread) / static_cast<size_t>(threads_);
    };
    constexpr size_t kPiece = 1024;
    float sum[kPiece];
    const size_t end = begin_of(thread_ + 1);
    for (size_t at = begin_of(thread_), n; at < end; at += n) {
      n = std::min(kPiece, end - at);
      std::copy_n(group_->sums(0) + at, n, sum);
      for (int r = 1; r < threads_; ++r) {
        const float* x = group_->sums(r) + at;
        for (size_t i = 0; i < n; ++i) sum[i] += x[i];
      }
      for (int r = 0; r < threads_; ++r) std::copy_n(sum, n, group_->sums(r) + at);
    }
    return group_->meet();
  }

  template <class F>
  void link(F&& call) {
    if (thread_ != 0) return;
    if (const Status status = call(*group_->link()); !status.ok())
      group_->break_with(status.error());
  }

  static Error disagreement() {
    return {Code::internal, "the ranks of a group disagree about the size of a collective", "size"};
  }

  const std::shared_ptr<Group> group_;
  const int thread_, threads_;
};

}  // namespace

std::vector<std::unique_ptr<Comm>> make_group(const GroupShape& shape, std::unique_ptr<Link> link) {
  CHECK(shape.threads >= 1 && shape.processes >= 1);
  CHECK(shape.process >= 0 && shape.process < shape.processes);
  auto group = std::make_shared<Group>(shape, std::move(link));
  std::vector<std::unique_ptr<Comm>> ranks;
  for (int thread = 0; thread < shape.threads; ++thread)
    ranks.push_back(std::make_unique<Rank>(group, thread));
  return ranks;
}

}  // namespace fathom
