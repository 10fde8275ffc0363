#include "model/feed_forward.h"

#include <algorithm>

namespace fathom {

void FeedForward::reserve(const ModelConfig& c, const Shard& shard, int32_t rows) {
  const int64_t n = rows;
  const int64_t wide = std::max(shard.part(c.intermediate), shard.part(c.shared_intermediate()));
  at_least(gate_, n * wide);
  at_least(up_, n * wide);
  at_least(router_, n * c.experts);
  at_least(expert_ids_, n * c.experts_chosen);
  at_least(expert_weights_, n * c.experts_chosen);
}

void FeedForward::run(const RankOps& ops, const FeedForwardWeights& w, std::span<const float> x,
                      std::span<float> out) {
  if (w.dense.gate.data != nullptr) {
    dense(ops, w, x, out);
  } else {
    std::fill_n(out.begin(), int64_t{ops.rows()} * ops.config().hidden, 0.0f);
  }
  if (w.router.data != nullptr) routed(ops, w, x, out);
}

// This rank's channels of down(silu(gate x) * up x).
void FeedForward::dense(const RankOps& ops, const FeedForwardWeights& layer,
                        std::span<const float> x, std::span<float> out) {
  const DenseWeights& w = layer.dense;
  ops.linear(x, ops.config().hidden, w.gate, gate_);
  ops.add_bias(layer.gate_bias, gate_);
  ops.linear(x, ops.config().hidden, w.up, up_);
  ops.add_bias(layer.up_bias, up_);
  ops.table().swiglu(ops.context(), {.gate = gate_.data(),
                                     .up = up_.data(),
                                     .in_stride = w.gate.rows,
                                     .rows = ops.rows(),
                                     .width = w.gate.rows,
                                     .out = gate_.data(),
                                     .out_stride = w.gate.rows});
  ops.context().scratch->reset();
  ops.linear(gate_, w.gate.rows, w.down, out);
  // Once, for the ranks' parts are summed.
  if (ops.shard().rank == 0) ops.add_bias(layer.down_bias, out);
}

// Every rank routes alike and adds the experts it has.
void FeedForward::routed(const RankOps& ops, const FeedForwardWeights& w, std::span<const float> x,
                         std::span<float> out) {
  const ModelConfig& c = ops.config();
  ops.linear(x, c.hidden, w.router, router_, true);
  ops.table().route(ops.context(), {.logits = router_.data(),
                                    .bias = static_cast<const float*>(w.router_bias.data),
                                    .rows = ops.rows(),
                                    .experts = c.experts,
                                    .groups = c.groups,
                                    .groups_kept = c.groups_kept,
                                    .group_score = c.group_score,
                                    .scoring = c.scoring,
                                    .chosen = c.experts_chosen,
                                    .normalise = c.normalise_weights,
                                    .factor = c.routed_factor,
                                    .ids = expert_ids_.data(),
                                    .weights = expert_weights_.data()});
  ops.context().scratch->reset();
  ops.table().experts(ops.context(), {.x = x.data(),
                                      .x_stride = c.hidden,
                                      .rows = ops.rows(),
                                      .experts = w.experts,
                                      .first_expert = ops.shard().begin(c.experts),
                                      .ids = expert_ids_.data(),
                                      .weights = expert_weights_.data(),
                                      .chosen = c.experts_chosen,
                                      .out = out.data(),
                                      .out_stride = c.hidden});
  ops.context().scratch->reset();
}

}  // namespace fathom
