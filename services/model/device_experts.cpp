#include "model/device_experts.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "model/buffer.h"

namespace fathom {
namespace {

class DeviceExperts final : public ExpertMeeting {
 public:
  DeviceExperts(const ModelConfig& config, Device& device, std::unique_ptr<Comm> comm,
                std::unique_ptr<Collectives> collectives)
      : ExpertMeeting(std::move(comm)),
        hidden_(config.hidden),
        chosen_(config.experts_chosen),
        device_(device),
        collectives_(std::move(collectives)),
        x_(device),
        ids_(device),
        weights_(device),
        sums_(device) {
    CHECK(collectives_->rank() == rank() && collectives_->size() == size());
  }

  bool recordable() const override { return collectives_ && collectives_->recordable(); }
  Result<int32_t> agree(int32_t word) override {
    if (!collectives_) return left();
    return collectives_->agree(word);
  }

  Status run(const OpContext& context, const Ops& ops, const ExpertsParams& p) override {
    if (!collectives_) return left();
    CHECK(p.chosen == chosen_ && p.rows <= rows_);
    const int64_t all = int64_t{rows_} * size();
    FATHOM_CHECKED(gather(p));
    const auto sums = static_cast<size_t>(all * hidden_);
    device_.fill_zero(sums_.data(), sums * sizeof(float));
    ops.experts(context, {.x = x_.data(),
                          .x_dtype = p.x_dtype,
                          .x_stride = hidden_,
                          .rows = static_cast<int32_t>(all),
                          .experts = p.experts,
                          .first_expert = p.first_expert,
                          .ids = ids_.data(),
                          .weights = weights_.data(),
                          .chosen = chosen_,
                          .out = sums_.data(),
                          .out_stride = hidden_});
    context.scratch->reset();
    FATHOM_CHECKED(collectives_->all_reduce(sums_.data(), all * hidden_));
    if (p.rows == 0) return {};
    CHECK(p.out_stride == hidden_);
    ops.add(context, {.x = p.out,
                      .y = sums_.data() + int64_t{rank()} * rows_ * hidden_,
                      .count = int64_t{p.rows} * hidden_});
    return {};
  }

  // The device is waited for outside of the lock: it may wait for a peer, which is told by leave().
  Status finish(Download& mark) override {
    while (true) {
      const bool done = mark.done();
      const std::scoped_lock lock(leaving_);
      if (!collectives_) return left();
      if (done) return collectives_->finish(mark);
      FATHOM_CHECKED(collectives_->status());
      std::this_thread::yield();
    }
  }

  void leave() override {
    {
      const std::scoped_lock lock(leaving_);
      collectives_.reset();
    }
    ExpertMeeting::leave();
  }

 private:
  // Rows that pad a rank's part choose nobody; what else stands in them is never read. Said before
  // what is recorded: memory that grows is forgotten with all recordings.
  Status prepare(std::span<const int32_t> rows) override {
    rows_ = *std::ranges::max_element(rows);
    const int64_t all = int64_t{rows_} * size();
    x_.at_least(all * hidden_);
    ids_.at_least(all * chosen_);
    weights_.at_least(all * chosen_);
    sums_.at_least(all * hidden_);
    nobody_.assign(static_cast<size_t>(rows_) * static_cast<size_t>(chosen_), -1);
    device_.upload(own(ids_.data(), chosen_), nobody_.data(), nobody_.size() * sizeof(int32_t));
    return {};
  }

  // Of a gathered array, this rank's part.
  template <class T>
  T* own(T* gathered, int64_t width) const {
    return gathered + int64_t{rank()} * rows_ * width;
  }

  // Collectives move float32; what is narrower is moved as such, two at a time.
  Status gather(const ExpertsParams& p) {
    const int64_t row_bytes = int64_t{hidden_} * dtype_bytes(p.x_dtype);
    CHECK(row_bytes % static_cast<int64_t>(sizeof(float)) == 0);
    const int64_t row_floats = row_bytes / static_cast<int64_t>(sizeof(float));
    float* x = own(x_.data(), row_floats);
    const auto rows = static_cast<size_t>(p.rows);
    const size_t choices = rows * static_cast<size_t>(chosen_);
    if (p.rows > 0) {
      device_.copy_rows(x, static_cast<size_t>(row_bytes), p.x,
                        static_cast<size_t>(p.x_stride * dtype_bytes(p.x_dtype)),
                        static_cast<size_t>(row_bytes), rows);
      device_.copy(own(ids_.data(), chosen_), p.ids, choices * sizeof(int32_t));
      device_.copy(own(weights_.data(), chosen_), p.weights, choices * sizeof(float));
    }
    FATHOM_CHECKED(collectives_->all_gather(x, x_.data(), rows_ * row_floats));
    auto* ids = reinterpret_cast<float*>(ids_.data());
    const int64_t each = int64_t{rows_} * chosen_;
    FATHOM_CHECKED(collectives_->all_gather(own(ids, chosen_), ids, each));
    return collectives_->all_gather(own(weights_.data(), chosen_), weights_.data(), each);
  }

  const int32_t hidden_, chosen_;
  Device& device_;
  std::mutex leaving_;                        // of finish(), on another thread than all else
  std::unique_ptr<Collectives> collectives_;  // null once this rank left
  int32_t rows_ = 0;                          // of the largest rank, in the pass that runs
  Buffer<float> x_;                           // [ranks, rows, hidden], of the type of x
  Buffer<int32_t> ids_;                       // [ranks, rows, chosen]
  Buffer<float> weights_;                     // the same
  Buffer<float> sums_;                        // [ranks, rows, hidden]
  std::vector<int32_t> nobody_;
};

}  // namespace

std::unique_ptr<ExpertExchange> make_device_experts(const ModelConfig& config, Device& device,
                                                    std::unique_ptr<Comm> comm,
                                                    std::unique_ptr<Collectives> collectives) {
  return std::make_unique<DeviceExperts>(config, device, std::move(comm), std::move(collectives));
}

}  // namespace fathom
