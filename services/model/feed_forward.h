// What does the second half of a layer compute? A dense SwiGLU MLP, or chosen experts beside a
// shared one; each rank has its channels and its experts, so the result is a part to be summed over
// the group. Which of them a layer has is what its weights say.
#pragma once

#include <optional>

#include "model/rank_ops.h"

namespace fathom {

class FeedForward {
 public:
  explicit FeedForward(const RankOps& ops);
  void reserve(const ModelConfig& config, const Shard& shard, int32_t rows);
  // out = this rank's part of the layer's MLP of x; both [rows, hidden].
  Status run(const RankOps& ops, const FeedForwardWeights& weights, const BatchTables& batch,
             const RowsView& x, float* out);
  // This rank's experts for others' rows, in a pass in which it has none.
  static Status assist(const RankOps& ops, const FeedForwardWeights& weights);

 private:
  void dense(const RankOps& ops, const FeedForwardWeights& weights, const RowsView& x, float* out);
  Status routed(const RankOps& ops, const FeedForwardWeights& weights, const BatchTables& batch,
                const RowsView& x, float* out);

  Buffer<float> gate_, up_, router_, expert_weights_;
  std::optional<ProductInput> activated_;  // without: float32, in place of gate_
  Buffer<int32_t> expert_ids_;
};

}  // namespace fathom
