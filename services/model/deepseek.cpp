#include "model/deepseek.h"

#include <algorithm>
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
      heads_(ops_.shard().part(parts.config->heads)) {
  const ModelConfig& c = ops_.config();
  CHECK(caches_.size() == weights_.layers.size() + (weights_.mtp ? 1 : 0));
  rope_ = make_rope_table(c.rope, c.rope_theta, c.scaling);
  if (weights_.mtp && ops_.context().compute == Compute::bfloat16)
    draft_head_.emplace(weights_.ends.lm_head);
  scale_ =
      static_cast<float>(rope_.softmax_factor / std::sqrt(static_cast<double>(c.nope + c.rope)));
}

void DeepseekRank::reserve(int32_t rows) {
  const ModelConfig& c = ops_.config();
  const int64_t n = rows;
  ops_.set_rows(rows);
  at_least(residual_, n * c.hidden);
  at_least(normed_, n * c.hidden);
  at_least(partial_, n * c.hidden);
  at_least(q_rank_, n * c.q_rank);
  at_least(q_, n * heads_ * (c.nope + c.rope));
  at_least(latent_, n * c.latent_width());
  at_least(latent_normed_, n * c.kv_rank);
  at_least(attended_, n * heads_ * c.value);
  feed_forward_.reserve(c, ops_.shard(), rows);
}

Status DeepseekRank::forward(const Batch& batch, const LogitsSink& sink) {
  reserve(batch.rows());
  ops_.embed(weights_.ends.embed, batch, residual_);
  ops_.tap(-1, "embed", residual_);
  for (size_t i = 0; i < weights_.layers.size(); ++i)
    FATHOM_CHECKED(run_layer(weights_.layers[i], static_cast<int32_t>(i), batch));
  last_norm_ = &weights_.ends.final_norm;
  return logits_.run(ops_, *last_norm_, weights_.ends.lm_head, residual_, batch.logit_rows(), sink);
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
  at_least(hidden_, int64_t{batch.rows()} * c.hidden);
  at_least(pair_, int64_t{batch.rows()} * 2 * c.hidden);
  for (size_t r = 0; r < from.size(); ++r)
    std::copy_n(residual_.begin() + int64_t{from[r]} * c.hidden, c.hidden,
                hidden_.begin() + static_cast<int64_t>(r) * c.hidden);
  reserve(batch.rows());
  const auto pair_hidden = std::span(pair_).subspan(static_cast<size_t>(c.hidden));
  ops_.norm(hidden_, c.hidden, *last_norm_, c.norm_eps, hidden_, c.hidden);
  ops_.norm(hidden_, c.hidden, w.hidden_norm, c.norm_eps, pair_hidden, int64_t{2} * c.hidden);
  ops_.embed(weights_.ends.embed, batch, normed_);
  ops_.norm(normed_, c.hidden, w.token_norm, c.norm_eps, pair_, int64_t{2} * c.hidden);
  ops_.linear(pair_, int64_t{2} * c.hidden, w.join, residual_);
  FATHOM_CHECKED(run_layer(w.layer, c.layers, batch));
  last_norm_ = &w.head_norm;
  const Weight& head = draft_head_ ? draft_head_->weight() : weights_.ends.lm_head;
  return logits_.run(ops_, *last_norm_, head, residual_, batch.logit_rows(), sink);
}

Status DeepseekRank::run_layer(const DeepseekLayer& layer, int32_t index, const Batch& batch) {
  const ModelConfig& c = ops_.config();
  ops_.norm(residual_, c.hidden, layer.input_norm, c.norm_eps, normed_, c.hidden);
  FATHOM_CHECKED(attention(layer.attention, caches_[static_cast<size_t>(index)], batch));
  FATHOM_CHECKED(ops_.add_sum(partial_, residual_));
  ops_.tap(index, "attention", partial_);
  ops_.norm(residual_, c.hidden, layer.post_norm, c.norm_eps, normed_, c.hidden);
  feed_forward_.run(ops_, layer.feed_forward, normed_, partial_);
  FATHOM_CHECKED(ops_.add_sum(partial_, residual_));
  ops_.tap(index, "feed_forward", partial_);
  ops_.tap(index, "out", residual_);
  return {};
}

Status DeepseekRank::attention(const MlaWeights& weights, const LatentCache& cache,
                               const Batch& batch) {
  queries(weights, batch);
  FATHOM_CHECKED(write_latents(weights, cache, batch));
  attend(weights, cache, batch);
  ops_.linear(attended_, int64_t{heads_} * ops_.config().value, weights.o, partial_);
  // Once, for the ranks' parts are summed.
  if (ops_.shard().rank == 0) ops_.add_bias(weights.o_bias, partial_);
  return {};
}

// Per head [nope | rope], the rope part turned.
void DeepseekRank::queries(const MlaWeights& w, const Batch& batch) {
  const ModelConfig& c = ops_.config();
  if (c.q_rank == 0) {
    ops_.linear(normed_, c.hidden, w.q_b, q_);
  } else {
    ops_.linear(normed_, c.hidden, w.q_a, q_rank_);
    ops_.add_bias(w.q_a_bias, q_rank_);
    ops_.norm(q_rank_, c.q_rank, w.q_a_norm, kInnerNormEps, q_rank_, c.q_rank);
    ops_.linear(q_rank_, c.q_rank, w.q_b, q_);
  }
  const int64_t head = c.nope + c.rope;
  ops_.rotate({.values = std::span(q_).subspan(static_cast<size_t>(c.nope)),
               .row_stride = heads_ * head,
               .head_stride = head,
               .heads = heads_},
              rope_, batch);
}

// The latent after its norm and the one rope key all heads share: what the cache holds. The first
// rank of a process writes it for all.
Status DeepseekRank::write_latents(const MlaWeights& w, const LatentCache& cache,
                                   const Batch& batch) {
  const ModelConfig& c = ops_.config();
  if (ops_.writes_cache()) {
    ops_.linear(normed_, c.hidden, w.kv_a, latent_);
    ops_.add_bias(w.kv_a_bias, latent_);
    ops_.norm(latent_, c.latent_width(), w.kv_a_norm, kInnerNormEps, latent_normed_, c.kv_rank);
    const auto key = std::span(latent_).subspan(static_cast<size_t>(c.kv_rank));
    ops_.rotate({.values = key, .row_stride = c.latent_width()}, rope_, batch);
    ops_.table().cache_write(ops_.context(), {.latent = latent_normed_.data(),
                                              .latent_stride = c.kv_rank,
                                              .rope_key = key.data(),
                                              .rope_stride = c.latent_width(),
                                              .rows = ops_.rows(),
                                              .slots = batch.slots().data(),
                                              .cache = cache});
    ops_.context().scratch->reset();
  }
  return ops_.wait_for_cache();
}

void DeepseekRank::attend(const MlaWeights& w, const LatentCache& cache, const Batch& batch) {
  const ModelConfig& c = ops_.config();
  MlaParams params = {.q = q_.data(),
                      .q_stride = int64_t{heads_} * (c.nope + c.rope),
                      .heads = heads_,
                      .nope = c.nope,
                      .value = c.value,
                      .kv_b = w.kv_b,
                      .cache = cache,
                      .scale = scale_,
                      .out = attended_.data(),
                      .out_stride = int64_t{heads_} * c.value};
  if (!batch.expanded().empty()) {
    params.sequences = batch.expanded();
    ops_.table().mla_expanded(ops_.context(), params);
    ops_.context().scratch->reset();
  }
  if (!batch.absorbed().empty()) {
    params.sequences = batch.absorbed();
    ops_.table().mla_absorbed(ops_.context(), params);
    ops_.context().scratch->reset();
  }
}

}  // namespace fathom
