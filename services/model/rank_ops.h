// How does a rank say one operation, so that a layer reads like its formula? The backend's table
// with the rank's context filled in, for the `rows` of the batch that runs. Each call gives its
// scratch back before it returns.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "model/batch_tables.h"
#include "model/buffer.h"
#include "model/forward.h"
#include "model/rope.h"
#include "model/shard.h"

namespace fathom {

// Of [rows, heads, width] numbers inside a larger row.
struct HeadsView {
  float* values = nullptr;  // the first head's first number
  int64_t row_stride = 0, head_stride = 0;
  int32_t heads = 1;
};

// A rope table where the device reads it.
struct DeviceRope {
  DeviceRope(Device& device, RopeTable host);
  RopeTable table;
  Buffer<float> frequencies;
};

class RankOps {
 public:
  explicit RankOps(const RankParts& parts)
      : parts_(parts), shard_{.rank = parts.comm->rank(), .size = parts.comm->size()} {
    if (parts.experts == nullptr) return;
    shard_.expert_rank = parts.experts->rank();
    shard_.expert_size = parts.experts->size();
  }

  Device& device() const { return *parts_.context.device; }
  // The type of what feeds products.
  DType product_input() const {
    return parts_.context.compute == Compute::float32 ? DType::f32 : parts_.ops->product_input;
  }

  // Whether what feeds products is quantised by the operation that makes it.
  bool product_codes() const {
    return parts_.context.compute == Compute::fp8 && parts_.ops->product_codes;
  }

  const ModelConfig& config() const { return *parts_.config; }
  const Shard& shard() const { return shard_; }
  Comm& comm() const { return *parts_.comm; }
  const OpContext& context() const { return parts_.context; }
  const Ops& table() const { return *parts_.ops; }
  bool writes_cache() const { return parts_.writes_cache; }

  int32_t rows() const { return rows_; }
  void set_rows(int32_t rows) { rows_ = rows; }

  // Puts tokens in their places that a sampler left on the device; nothing where all are known.
  void feed(const BatchTables& batch) const;
  void embed(const Weight& embedding, const BatchTables& batch, float* out) const;
  void norm(const float* x, int64_t x_stride, const Weight& weight, float eps,
            const RowsView& out) const;
  // x += part, then its norm; all [rows, hidden].
  void add_norm(float* x, const float* part, const Weight& weight, const RowsView& out) const;
  // y = x W^T, rows of y dense. `exact`: float32 products whatever the compute type.
  void linear(const RowsView& x, const Weight& weight, float* y, bool exact = false) const;
  // y += bias in each row; nothing without one.
  void add_bias(const Weight& bias, float* y) const;
  // out = x's rows at `from`; rows of `width`, dense.
  void gather(const float* x, const int32_t* from, int32_t width, float* out) const;
  void rotate(const HeadsView& x, const DeviceRope& rope, const BatchTables& batch) const;
  // Sums `part` over the group, in rank order. [rows, hidden].
  Status sum(float* part) const;
  // The same, added to `residual`.
  Status add_sum(float* part, float* residual) const;
  // Whether the group's sums are operations of the device that it can record.
  bool sums_on_device() const {
    return shard_.size == 1 || (parts_.collectives != nullptr && parts_.collectives->recordable());
  }
  // Says the operations of `say`, or replays them: on all ranks or on none (Device::replay).
  Status replay(const ReplayKey& key, const std::function<Status()>& say) const;
  bool has_tap() const { return static_cast<bool>(parts_.tap); }  // on all ranks alike; rank 0 taps
  bool shares_experts() const { return parts_.experts != nullptr; }
  // The same of the exchange of rows for experts, where these are shared.
  bool experts_on_device() const {
    return parts_.experts == nullptr || parts_.experts->recordable();
  }
  // A pass over so many rows begins on all who share experts. Where they do, `padding` becomes the
  // one of all ranks, or none; its logits stay. The rows of the largest rank; without others 0.
  Result<int32_t> begin_pass(int32_t rows, std::optional<Padding>& padding) const;
  // Adds the chosen experts' results to p.out: this group's, or of all who share them.
  Status experts(const ExpertsParams& p) const;
  // Until every rank of this process has written its part of the layer's KV.
  Status wait_for_cache() const;
  void tap(int32_t layer, std::string_view what, const float* values) const;
  // On rank 0: each rank's [rows, part] side by side, [rows, ranks * part].
  Status gather_columns(const float* mine, int32_t part, Buffer<float>& gathered, float* out) const;

 private:
  RankParts parts_;
  Shard shard_;
  int32_t rows_ = 0;
};

}  // namespace fathom
