#include "model/deepseek.h"

#include <cmath>

namespace fathom {
namespace {

constexpr float kInnerNormEps =
    1e-6f;  // of q_a_layernorm and kv_a_layernorm, whatever rms_norm_eps says

}  // namespace

DeepseekRank::DeepseekRank(RankParts parts, const DeepseekWeights& weights)
    : ops_(parts),
      weights_(weights),
      caches_(std::move(parts.caches)),
      heads_(ops_.shard().part(parts.config->heads)),
      rope_(ops_.device(),
            make_rope_table(parts.config->rope, parts.config->rope_theta, parts.config->scaling)),
      batch_(ops_.device()),
      residual_(ops_.device()),
      q_rank_(ops_.device()),
      q_(ops_.device()),
      latent_(ops_.device()),
      partial_(ops_.device()),
      normed_(ops_.device(), ops_.product_input()),
      q_normed_(ops_.device(), ops_.product_input()),
      attended_(ops_.device(), ops_.product_input()),
      hidden_(ops_.device()),
      pair_(ops_.device()),
      feed_forward_(ops_),
      logits_(ops_.device()) {
  const ModelConfig& c = ops_.config();
  CHECK(caches_.size() == weights_.layers.size() + (weights_.mtp ? 1 : 0));
  if (weights_.mtp && ops_.device().is_host() && ops_.context().compute == Compute::bfloat16)
    draft_head_.emplace(weights_.ends.lm_head);
  scale_ = static_cast<float>(rope_.table.softmax_factor /
                              std::sqrt(static_cast<double>(c.nope + c.rope)));
}

void DeepseekRank::reserve(int32_t rows) {
  const ModelConfig& c = ops_.config();
  const int64_t n = rows;
  ops_.set_rows(rows);
  residual_.at_least(n * c.hidden);
  normed_.at_least(n * c.hidden);
  partial_.at_least(n * c.hidden);
  q_rank_.at_least(n * c.q_rank);
  q_normed_.at_least(n * c.q_rank);
  q_.at_least(n * heads_ * (c.nope + c.rope));
  latent_.at_least(n * c.latent_width());
  attended_.at_least(n * heads_ * c.value);
  feed_forward_.reserve(c, ops_.shard(), rows);
}

Status DeepseekRank::forward(const Batch& batch, const LogitsSink& sink) {
  rows_ = &batch;
  last_norm_ = &weights_.ends.final_norm;
  if (const auto padding = padding_for(batch, ops_, logits_.tile_rows())) {
    reserve(padding->rows);
    logits_.reserve(ops_.config(), ops_.shard(), padding->rows);
    batch_.lay_out_padded(batch, *padding);
    Status status;
    ops_.device().replay({.rows = padding->rows, .context = padding->context}, [&] {
      ops_.set_rows(padding->rows);
      status = run_layers();
      if (!status.ok()) return;
      status = logits_.compute(ops_, *last_norm_, weights_.ends.lm_head, residual_.data(),
                               batch_.logit_rows(), padding->rows);
    });
    if (!status.ok()) return status;
    logits_.deliver(ops_, 0, batch.rows(), sink);
    return {};
  }
  reserve(batch.rows());
  batch_.lay_out(batch);
  FATHOM_CHECKED(run_layers());
  return logits_.run(ops_, *last_norm_, weights_.ends.lm_head, residual_.data(),
                     batch_.logit_rows(), static_cast<int32_t>(batch.logit_rows().size()), sink);
}

Status DeepseekRank::run_layers() {
  const ModelConfig& c = ops_.config();
  ops_.embed(weights_.ends.embed, batch_, residual_.data());
  ops_.tap(-1, "embed", residual_.data());
  ops_.norm(residual_.data(), c.hidden, weights_.layers.front().input_norm, c.norm_eps, normed());
  for (size_t i = 0; i < weights_.layers.size(); ++i)
    FATHOM_CHECKED(
        run_layer(weights_.layers[i], static_cast<int32_t>(i),
                  i + 1 < weights_.layers.size() ? &weights_.layers[i + 1].input_norm : nullptr));
  return {};
}

// z = join [norm(embedding of the token) | norm(hidden state)], then one layer. The hidden state is
// taken after the last norm of what made it: the model's, or the module's own when it goes on from
// its own guess.
Status DeepseekRank::draft(const Batch& batch, std::span<const int32_t> from,
                           const LogitsSink& sink) {
  CHECK(weights_.mtp && last_norm_ != nullptr);
  CHECK(static_cast<int32_t>(from.size()) == batch.rows());
  const ModelConfig& c = ops_.config();
  const MtpWeights& w = *weights_.mtp;
  rows_ = &batch;
  hidden_.at_least(int64_t{batch.rows()} * c.hidden);
  pair_.at_least(int64_t{batch.rows()} * 2 * c.hidden);
  batch_.lay_out(batch, from);
  ops_.set_rows(batch.rows());
  ops_.gather(residual_.data(), batch_.from(), c.hidden, hidden_.data());
  reserve(batch.rows());
  const int64_t pair = int64_t{2} * c.hidden;
  ops_.norm(hidden_.data(), c.hidden, *last_norm_, c.norm_eps,
            {hidden_.data(), DType::f32, c.hidden});
  ops_.norm(hidden_.data(), c.hidden, w.hidden_norm, c.norm_eps,
            {pair_.data() + c.hidden, DType::f32, pair});
  ops_.embed(weights_.ends.embed, batch_, partial_.data());
  ops_.norm(partial_.data(), c.hidden, w.token_norm, c.norm_eps, {pair_.data(), DType::f32, pair});
  ops_.linear({pair_.data(), DType::f32, pair}, w.join, residual_.data());
  ops_.norm(residual_.data(), c.hidden, w.layer.input_norm, c.norm_eps, normed());
  FATHOM_CHECKED(run_layer(w.layer, c.layers, nullptr));
  last_norm_ = &w.head_norm;
  const Weight& head = draft_head_ ? draft_head_->weight() : weights_.ends.lm_head;
  return logits_.run(ops_, *last_norm_, head, residual_.data(), batch_.logit_rows(),
                     static_cast<int32_t>(batch.logit_rows().size()), sink);
}

Status DeepseekRank::run_layer(const DeepseekLayer& layer, int32_t index, const Weight* next_norm) {
  FATHOM_CHECKED(attention(layer.attention, caches_[static_cast<size_t>(index)]));
  FATHOM_CHECKED(ops_.sum(partial_.data()));
  ops_.tap(index, "attention", partial_.data());
  ops_.add_norm(residual_.data(), partial_.data(), layer.post_norm, normed());
  feed_forward_.run(ops_, layer.feed_forward, batch_, normed(), partial_.data());
  if (next_norm != nullptr) {
    FATHOM_CHECKED(ops_.sum(partial_.data()));
    ops_.add_norm(residual_.data(), partial_.data(), *next_norm, normed());
  } else {
    FATHOM_CHECKED(ops_.add_sum(partial_.data(), residual_.data()));
  }
  ops_.tap(index, "feed_forward", partial_.data());
  ops_.tap(index, "out", residual_.data());
  return {};
}

Status DeepseekRank::attention(const MlaWeights& weights, const LatentCache& cache) {
  prepare(weights, cache);
  FATHOM_CHECKED(ops_.wait_for_cache());
  attend(weights, cache);
  ops_.linear(attended_.rows(int64_t{heads_} * ops_.config().value), weights.o, partial_.data());
  // Once, for the ranks' parts are summed.
  if (ops_.shard().rank == 0) ops_.add_bias(weights.o_bias, partial_.data());
  return {};
}

// Queries, per head [nope | rope], the rope part turned; and in the cache the latent after its norm
// and the one rope key all heads share. The first rank of a process writes it for all.
void DeepseekRank::prepare(const MlaWeights& w, const LatentCache& cache) {
  const ModelConfig& c = ops_.config();
  const RowsView queries = c.q_rank == 0 ? normed() : q_normed_.rows(c.q_rank);
  MlaPrepareParams params;
  if (c.q_rank > 0) {
    ops_.linear(normed(), w.q_a, q_rank_.data());
    ops_.add_bias(w.q_a_bias, q_rank_.data());
    params.q = {.x = q_rank_.data(),
                .x_stride = c.q_rank,
                .weight = w.q_a_norm,
                .eps = kInnerNormEps,
                .rows = ops_.rows(),
                .width = c.q_rank,
                .out = queries.data,
                .out_dtype = queries.dtype,
                .out_stride = queries.stride};
  }
  if (ops_.writes_cache()) {
    ops_.linear(normed(), w.kv_a, latent_.data());
    ops_.add_bias(w.kv_a_bias, latent_.data());
    params.latent = {.x = latent_.data(),
                     .x_stride = c.latent_width(),
                     .weight = w.kv_a_norm,
                     .eps = kInnerNormEps,
                     .rows = ops_.rows(),
                     .positions = batch_.positions(),
                     .frequencies = rope_.frequencies.data(),
                     .magnitude = rope_.table.magnitude,
                     .halves = rope_.table.halves,
                     .slots = batch_.slots(),
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
              rope_, batch_);
}

void DeepseekRank::attend(const MlaWeights& w, const LatentCache& cache) {
  const ModelConfig& c = ops_.config();
  const RowsView out = attended_.rows(int64_t{heads_} * c.value);
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
    params.tables = batch_.expanded();
    ops_.table().mla_expanded(ops_.context(), params);
    ops_.context().scratch->reset();
  }
  if (!rows_->absorbed().empty()) {
    params.sequences = rows_->absorbed();
    params.tables = batch_.absorbed();
    ops_.table().mla_absorbed(ops_.context(), params);
    ops_.context().scratch->reset();
  }
}

}  // namespace fathom
