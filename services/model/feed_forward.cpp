#include "model/feed_forward.h"

#include <algorithm>

namespace fathom {

namespace {

// As many as the default step has: more rows a pass over the weights multiply no faster.
constexpr int32_t kPieceRows = 512;

// Those who share experts meet once a layer, whatever their rows; a device's memory is planned for.
int32_t piece_rows(const RankOps& ops, int32_t rows) {
  return ops.device().is_host() && !ops.shares_experts() ? std::min(rows, kPieceRows) : rows;
}

}  // namespace

FeedForward::FeedForward(const RankOps& ops, Room& room)
    : room_(room), gate_(room), up_(room), router_(room), expert_weights_(room), expert_ids_(room) {
  if (ops.product_input() != DType::f32)
    activated_.emplace(ops.device(), ops.product_input(), ops.product_codes());
}

void FeedForward::reserve(const RankOps& ops, int32_t rows) {
  const ModelConfig& c = ops.config();
  const Shard& shard = ops.shard();
  const int64_t n = piece_rows(ops, rows);
  const int64_t wide = std::max(shard.part(c.intermediate), shard.part(c.shared_intermediate()));
  int64_t at = room_.behind_result(0);
  gate_.place(at, n * wide);
  up_.place(at, n * wide);
  if (activated_) activated_->at_least(n, wide);
  router_.place(at, n * c.experts);
  expert_ids_.place(at, n * c.experts_chosen);
  expert_weights_.place(at, n * c.experts_chosen);
}

Status FeedForward::run(RankOps& ops, const FeedForwardWeights& w, const BatchTables& batch,
                        const RowsView& x, float* out) {
  const int32_t rows = ops.rows(), most = piece_rows(ops, rows);
  if (rows <= most) return piece(ops, w, batch.slots(), x, out);
  for (int32_t first = 0; first < rows; first += most) {
    ops.set_rows(std::min(most, rows - first));
    const RowsView some{static_cast<char*>(x.data) + first * x.stride * dtype_bytes(x.dtype),
                        x.dtype, x.stride};
    FATHOM_CHECKED(
        piece(ops, w, batch.slots() + first, some, out + int64_t{first} * ops.config().hidden));
  }
  ops.set_rows(rows);
  return {};
}

Status FeedForward::piece(const RankOps& ops, const FeedForwardWeights& w, const int64_t* slots,
                          const RowsView& x, float* out) {
  if (w.dense.gate.data != nullptr) {
    dense(ops, w, x, out);
  } else {
    ops.device().fill_zero(out, static_cast<size_t>(ops.rows()) *
                                    static_cast<size_t>(ops.config().hidden) * sizeof(float));
  }
  return w.router.data != nullptr ? routed(ops, w, slots, x, out) : Status();
}

Status FeedForward::assist(const RankOps& ops, const FeedForwardWeights& w) {
  if (w.router.data == nullptr) return {};
  const ModelConfig& c = ops.config();
  return ops.experts({.x_dtype = ops.product_input(),
                      .x_stride = c.hidden,
                      .experts = w.experts,
                      .first_expert = ops.shard().first_expert(c.experts),
                      .chosen = c.experts_chosen,
                      .out_stride = c.hidden});
}

// This rank's channels of down(silu(gate x) * up x).
void FeedForward::dense(const RankOps& ops, const FeedForwardWeights& layer, const RowsView& x,
                        float* out) {
  const DenseWeights& w = layer.dense;
  const RowsView activated =
      activated_ ? activated_->rows(w.gate.rows) : RowsView{gate_.data(), DType::f32, w.gate.rows};
  ops.linear(x, w.gate, gate_.data());
  ops.add_bias(layer.gate_bias, gate_.data());
  ops.linear(x, w.up, up_.data());
  ops.add_bias(layer.up_bias, up_.data());
  ops.table().swiglu(ops.context(), {.gate = gate_.data(),
                                     .up = up_.data(),
                                     .in_stride = w.gate.rows,
                                     .rows = ops.rows(),
                                     .width = w.gate.rows,
                                     .out = activated.data,
                                     .out_dtype = activated.dtype,
                                     .out_stride = activated.stride,
                                     .codes = activated.codes});
  ops.context().scratch->reset();
  ops.linear(activated, w.down, out);
  // Once, for the ranks' parts are summed.
  if (ops.shard().rank == 0) ops.add_bias(layer.down_bias, out);
}

// Every rank of a group routes alike and adds the experts it has; groups that share experts each
// route their own rows.
Status FeedForward::routed(const RankOps& ops, const FeedForwardWeights& w, const int64_t* slots,
                           const RowsView& x, float* out) {
  const ModelConfig& c = ops.config();
  ops.linear(x, w.router, router_.data(), true);
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
                                    .slots = slots,
                                    .ids = expert_ids_.data(),
                                    .weights = expert_weights_.data()});
  ops.context().scratch->reset();
  return ops.experts({.x = x.data,
                      .x_dtype = x.dtype,
                      .x_stride = x.stride,
                      .codes = x.codes,
                      .rows = ops.rows(),
                      .experts = w.experts,
                      .first_expert = ops.shard().first_expert(c.experts),
                      .ids = expert_ids_.data(),
                      .weights = expert_weights_.data(),
                      .chosen = c.experts_chosen,
                      .out = out,
                      .out_stride = c.hidden});
}

}  // namespace fathom
