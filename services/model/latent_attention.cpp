#include "model/latent_attention.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

constexpr float kInnerNormEps =
    1e-6f;  // of q_a_layernorm and kv_a_layernorm, whatever rms_norm_eps says

}  // namespace

LatentAttention::LatentAttention(const RankOps& ops, Room& room, std::vector<LatentCache> caches)
    : ops_(ops),
      room_(room),
      caches_(std::move(caches)),
      heads_(ops.shard().part(ops.config().heads)),
      rope_(ops.device(),
            make_rope_table(ops.config().rope, ops.config().rope_theta, ops.config().scaling)),
      q_rank_(room),
      q_(room),
      latent_(room) {
  if (ops.product_input() != DType::f32 || !ops.device().is_host()) {
    q_normed_.emplace(ops.device(), ops.product_input(), ops.product_codes());
    attended_.emplace(ops.device(), ops.product_input());
  }
  const ModelConfig& c = ops_.config();
  CHECK(static_cast<int32_t>(caches_.size()) == c.cached_layers());
  scale_ = static_cast<float>(rope_.table.softmax_factor /
                              std::sqrt(static_cast<double>(c.nope + c.rope)));
}

void LatentAttention::reserve(const Batch& batch, int32_t rows) {
  const ModelConfig& c = ops_.config();
  const int64_t n = rows;
  int64_t at = 0;
  rows_ = &batch;
  q_.place(at, n * heads_ * (c.nope + c.rope));
  if (ops_.writes_cache()) latent_.place(at, n * c.latent_width());
  // What attention gave feeds the last product, which writes the result.
  at = room_.behind_result(at);
  if (q_normed_) {
    q_rank_.place(at, n * c.q_rank);
    q_normed_->at_least(n, c.q_rank);
    attended_->at_least(n, int64_t{heads_} * c.value);
  } else {
    // Of one type, and on a host, these three follow one another in the same memory.
    q_rank_.place(at, n * std::max(c.q_rank, heads_ * c.value));
  }
}

Status LatentAttention::run(const LayerWeights& layer, size_t cache, const BatchTables& batch,
                            const RowsView& x, float* out) {
  const auto& w = std::get<MlaWeights>(layer.attention);
  prepare(w, caches_[cache], batch, x);
  FATHOM_CHECKED(ops_.wait_for_cache());
  attend(w, caches_[cache], batch);
  ops_.linear(attended(), w.o, out);
  // Once, for the ranks' parts are summed.
  if (ops_.shard().rank == 0) ops_.add_bias(w.o_bias, out);
  return {};
}

RowsView LatentAttention::attended() const {
  const int64_t width = int64_t{heads_} * ops_.config().value;
  return attended_ ? attended_->rows(width) : RowsView{q_rank_.data(), DType::f32, width};
}

// Queries, per head [nope | rope], the rope part turned; and in the cache the latent after its norm
// and the one rope key all heads share. The first rank of a process writes it for all.
void LatentAttention::prepare(const MlaWeights& w, const LatentCache& cache,
                              const BatchTables& batch, const RowsView& x) {
  const ModelConfig& c = ops_.config();
  const RowsView queries = c.q_rank == 0 ? x
                           : q_normed_   ? q_normed_->rows(c.q_rank)
                                         : RowsView{q_rank_.data(), DType::f32, c.q_rank};
  MlaPrepareParams params;
  if (c.q_rank > 0) {
    ops_.linear(x, w.q_a, q_rank_.data());
    ops_.add_bias(w.q_a_bias, q_rank_.data());
    params.q = {.x = q_rank_.data(),
                .x_stride = c.q_rank,
                .weight = w.q_a_norm,
                .eps = kInnerNormEps,
                .rows = ops_.rows(),
                .width = c.q_rank,
                .out = queries.data,
                .out_dtype = queries.dtype,
                .out_stride = queries.stride,
                .codes = queries.codes};
  }
  if (ops_.writes_cache()) {
    ops_.linear(x, w.kv_a, latent_.data());
    ops_.add_bias(w.kv_a_bias, latent_.data());
    params.latent = {.x = latent_.data(),
                     .x_stride = c.latent_width(),
                     .weight = w.kv_a_norm,
                     .eps = kInnerNormEps,
                     .rows = ops_.rows(),
                     .positions = batch.positions(),
                     .frequencies = rope_.frequencies.data(),
                     .magnitude = rope_.table.magnitude,
                     .halves = rope_.table.halves,
                     .slots = batch.slots(),
                     .cache = cache};
  }
  ops_.table().mla_prepare(ops_.context(), params);
  ops_.context().scratch->reset();
  ops_.linear(queries, w.q_b, q_.data());
  const int64_t head = c.nope + c.rope;
  ops_.rotate({.values = q_.data() + c.nope,
               .row_stride = heads_ * head,
               .head_stride = head,
               .heads = heads_},
              rope_, batch);
}

void LatentAttention::attend(const MlaWeights& w, const LatentCache& cache,
                             const BatchTables& batch) {
  const ModelConfig& c = ops_.config();
  const RowsView out = attended();
  MlaParams params = {.q = q_.data(),
                      .q_stride = int64_t{heads_} * (c.nope + c.rope),
                      .heads = heads_,
                      .nope = c.nope,
                      .value = c.value,
                      .kv_b = w.kv_b,
                      .cache = cache,
                      .scale = scale_,
                      .out = out.data,
                      .out_dtype = out.dtype,
                      .out_stride = out.stride};
  if (!rows_->expanded().empty()) {
    params.sequences = rows_->expanded();
    params.tables = batch.expanded();
    ops_.table().mla_expanded(ops_.context(), params);
    ops_.context().scratch->reset();
  }
  if (!rows_->absorbed().empty()) {
    params.sequences = rows_->absorbed();
    params.tables = batch.absorbed();
    ops_.table().mla_absorbed(ops_.context(), params);
    ops_.context().scratch->reset();
  }
}

}  // namespace fathom
