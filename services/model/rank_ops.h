// How does a rank say one operation, so that a layer reads like its formula? The backend's table
// with the rank's context filled in, for the `rows` of the batch that runs. Each call gives its
// scratch back before it returns.
#pragma once

#include <span>
#include <vector>

#include "model/forward.h"
#include "model/rope.h"
#include "model/shard.h"

namespace fathom {

// Memory once taken is kept, so a step no larger than an earlier one allocates nothing.
template <class T>
void at_least(std::vector<T>& v, int64_t count) {
  if (v.size() < static_cast<size_t>(count)) v.resize(static_cast<size_t>(count));
}

// Of [rows, heads, width] numbers inside a larger row.
struct HeadsView {
  std::span<float> values;  // from the first head's first number
  int64_t row_stride = 0, head_stride = 0;
  int32_t heads = 1;
};

class RankOps {
 public:
  explicit RankOps(const RankParts& parts)
      : parts_(parts), shard_{parts.comm->rank(), parts.comm->size()} {}

  const ModelConfig& config() const { return *parts_.config; }
  const Shard& shard() const { return shard_; }
  Comm& comm() const { return *parts_.comm; }
  const OpContext& context() const { return parts_.context; }
  const Ops& table() const { return *parts_.ops; }
  bool writes_cache() const { return parts_.writes_cache; }

  int32_t rows() const { return rows_; }
  void set_rows(int32_t rows) { rows_ = rows; }

  void embed(const Weight& embedding, const Batch& batch, std::span<float> out) const;
  void norm(std::span<const float> x, int64_t x_stride, const Weight& weight, float eps,
            std::span<float> out, int64_t out_stride) const;
  // y = x W^T, rows of y dense. `exact`: float32 products whatever the compute type.
  void linear(std::span<const float> x, int64_t x_stride, const Weight& weight, std::span<float> y,
              bool exact = false) const;
  // y += bias in each row; nothing without one.
  void add_bias(const Weight& bias, std::span<float> y) const;
  void rotate(const HeadsView& x, const RopeTable& rope, const Batch& batch) const;
  // Sums `part` over the group, in rank order, and adds it to `residual`. Both [rows, hidden].
  Status add_sum(std::span<float> part, std::span<float> residual) const;
  // Until every rank of this process has written its part of the layer's KV.
  Status wait_for_cache() const;
  void tap(int32_t layer, std::string_view what, std::span<const float> values) const;

 private:
  RankParts parts_;
  Shard shard_;
  int32_t rows_ = 0;
};

}  // namespace fathom
