// What does the second half of a layer compute? A dense SwiGLU MLP, or chosen experts beside a
// shared one; each rank has its channels and its experts, so the result is a part to be summed over
// the group. Which of them a layer has is what its weights say.
#pragma once

#include <optional>

#include "model/rank_ops.h"
#include "model/room.h"

namespace fathom {

class FeedForward {
 public:
  FeedForward(const RankOps& ops, Room& room);
  void reserve(const RankOps& ops, int32_t rows);
  // out = this rank's part of the layer's MLP of x; both [rows, hidden]. On a host some rows at a
  // time, so that what lies between x and out does not grow with the step.
  Status run(RankOps& ops, const FeedForwardWeights& weights, const BatchTables& batch,
             const RowsView& x, float* out);
  // This rank's experts for others' rows, in a pass in which it has none.
  static Status assist(const RankOps& ops, const FeedForwardWeights& weights);

 private:
  // Of ops.rows() rows, whose cache slots begin at `slots`.
  Status piece(const RankOps& ops, const FeedForwardWeights& weights, const int64_t* slots,
               const RowsView& x, float* out);
  void dense(const RankOps& ops, const FeedForwardWeights& weights, const RowsView& x, float* out);
  Status routed(const RankOps& ops, const FeedForwardWeights& weights, const int64_t* slots,
                const RowsView& x, float* out);

  const Room& room_;
  RoomArray<float> gate_, up_, router_, expert_weights_;
  RoomArray<int32_t> expert_ids_;
  std::optional<ProductInput> activated_;  // without: float32, in place of gate_
};

}  // namespace fathom
