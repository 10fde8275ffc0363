#include "model/deepseek.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

constexpr float kInnerNormEps =
    1e-6f;  // of q_a_layernorm and kv_a_layernorm, whatever rms_norm_eps says
constexpr int32_t kLogitTile = 32;  // rows; 32 x 129,280 float32 are 16 MiB

// Memory once taken is kept, so a step no larger than an earlier one allocates nothing.
template <class T>
void at_least(std::vector<T>& v, int64_t count) {
  if (v.size() < static_cast<size_t>(count)) v.resize(static_cast<size_t>(count));
}

}  // namespace

DeepseekRank::DeepseekRank(DeepseekRankParts parts)
    : p_(std::move(parts)),
      shard_{p_.comm->rank(), p_.comm->size()},
      heads_(shard_.part(p_.config->heads)) {
  const ModelConfig& c = *p_.config;
  CHECK(static_cast<int32_t>(p_.caches.size()) == c.layers);
  rope_ = make_rope_table(c.rope, c.rope_theta, c.scaling);
  scale_ =
      static_cast<float>(rope_.softmax_factor / std::sqrt(static_cast<double>(c.nope + c.rope)));
}

void DeepseekRank::reserve(int32_t rows) {
  const ModelConfig& c = *p_.config;
  const int64_t n = rows;
  const int64_t wide = std::max(shard_.part(c.intermediate), shard_.part(c.shared_intermediate()));
  rows_ = rows;
  at_least(residual_, n * c.hidden);
  at_least(normed_, n * c.hidden);
  at_least(partial_, n * c.hidden);
  at_least(q_rank_, n * c.q_rank);
  at_least(q_, n * heads_ * (c.nope + c.rope));
  at_least(latent_, n * c.latent_width());
  at_least(latent_normed_, n * c.kv_rank);
  at_least(attended_, n * heads_ * c.value);
  at_least(gate_, n * wide);
  at_least(up_, n * wide);
  at_least(router_, n * c.experts);
  at_least(expert_ids_, n * c.experts_chosen);
  at_least(expert_weights_, n * c.experts_chosen);
}

Status DeepseekRank::forward(const Batch& batch, const LogitsSink& sink) {
  const ModelConfig& c = *p_.config;
  reserve(batch.rows());
  p_.ops->embed(p_.context,
                {.tokens = batch.tokens(), .table = p_.weights->embed, .out = residual_.data()});
  p_.context.scratch->reset();
  for (size_t i = 0; i < p_.weights->layers.size(); ++i) {
    const DeepseekLayer& layer = p_.weights->layers[i];
    norm(residual_, c.hidden, layer.input_norm, c.norm_eps, normed_, c.hidden);
    FATHOM_CHECKED(attention(layer, i, batch));
    norm(residual_, c.hidden, layer.post_norm, c.norm_eps, normed_, c.hidden);
    FATHOM_CHECKED(feed_forward(layer));
  }
  return logits(batch, sink);
}

Status DeepseekRank::attention(const DeepseekLayer& layer, size_t index, const Batch& batch) {
  queries(layer, batch);
  FATHOM_CHECKED(write_latents(layer, p_.caches[index], batch));
  attend(layer, p_.caches[index], batch);
  linear(attended_, heads_ * p_.config->value, layer.o, partial_);
  return sum_into_residual();
}

// Per head [nope | rope], the rope part turned.
void DeepseekRank::queries(const DeepseekLayer& layer, const Batch& batch) {
  const ModelConfig& c = *p_.config;
  if (c.q_rank == 0) {
    linear(normed_, c.hidden, layer.q_b, q_);
  } else {
    linear(normed_, c.hidden, layer.q_a, q_rank_);
    norm(q_rank_, c.q_rank, layer.q_a_norm, kInnerNormEps, q_rank_, c.q_rank);
    linear(q_rank_, c.q_rank, layer.q_b, q_);
  }
  const int64_t head = c.nope + c.rope;
  rotate(std::span(q_).subspan(static_cast<size_t>(c.nope)), heads_ * head, head, heads_, batch);
}

// The latent after its norm and the one rope key all heads share: what the cache holds.
Status DeepseekRank::write_latents(const DeepseekLayer& layer, const LatentCache& cache,
                                   const Batch& batch) {
  const ModelConfig& c = *p_.config;
  if (p_.writes_cache) {
    linear(normed_, c.hidden, layer.kv_a, latent_);
    norm(latent_, c.latent_width(), layer.kv_a_norm, kInnerNormEps, latent_normed_, c.kv_rank);
    const auto key = std::span(latent_).subspan(static_cast<size_t>(c.kv_rank));
    rotate(key, c.latent_width(), c.rope, 1, batch);
    p_.ops->cache_write(p_.context, {.latent = latent_normed_.data(),
                                     .latent_stride = c.kv_rank,
                                     .rope_key = key.data(),
                                     .rope_stride = c.latent_width(),
                                     .rows = rows_,
                                     .slots = batch.slots().data(),
                                     .cache = cache});
    p_.context.scratch->reset();
  }
  if (p_.barrier != nullptr && !p_.barrier->arrive_and_wait())
    return Error{Code::unavailable, "another rank of this process gave up", "tensor_parallel"};
  return {};
}

void DeepseekRank::attend(const DeepseekLayer& layer, const LatentCache& cache,
                          const Batch& batch) {
  const ModelConfig& c = *p_.config;
  MlaParams params = {.q = q_.data(),
                      .q_stride = int64_t{heads_} * (c.nope + c.rope),
                      .heads = heads_,
                      .nope = c.nope,
                      .value = c.value,
                      .kv_b = layer.kv_b,
                      .cache = cache,
                      .scale = scale_,
                      .out = attended_.data(),
                      .out_stride = int64_t{heads_} * c.value};
  if (!batch.expanded().empty()) {
    params.sequences = batch.expanded();
    p_.ops->mla_expanded(p_.context, params);
    p_.context.scratch->reset();
  }
  if (!batch.absorbed().empty()) {
    params.sequences = batch.absorbed();
    p_.ops->mla_absorbed(p_.context, params);
    p_.context.scratch->reset();
  }
}

Status DeepseekRank::feed_forward(const DeepseekLayer& layer) {
  if (layer.dense.gate.data != nullptr) {
    dense(layer.dense);
  } else {
    std::fill_n(partial_.begin(), int64_t{rows_} * p_.config->hidden, 0.0f);
  }
  if (layer.router.data != nullptr) routed(layer);
  return sum_into_residual();
}

// This rank's channels of down(silu(gate x) * up x).
void DeepseekRank::dense(const DenseWeights& w) {
  linear(normed_, p_.config->hidden, w.gate, gate_);
  linear(normed_, p_.config->hidden, w.up, up_);
  p_.ops->swiglu(p_.context, {.gate = gate_.data(),
                              .up = up_.data(),
                              .in_stride = w.gate.rows,
                              .rows = rows_,
                              .width = w.gate.rows,
                              .out = gate_.data(),
                              .out_stride = w.gate.rows});
  p_.context.scratch->reset();
  linear(gate_, w.gate.rows, w.down, partial_);
}

// Every rank routes alike and adds the experts it has.
void DeepseekRank::routed(const DeepseekLayer& layer) {
  const ModelConfig& c = *p_.config;
  linear(normed_, c.hidden, layer.router, router_, true);
  p_.ops->route(p_.context, {.logits = router_.data(),
                             .bias = static_cast<const float*>(layer.router_bias.data),
                             .rows = rows_,
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
  p_.context.scratch->reset();
  p_.ops->experts(p_.context, {.x = normed_.data(),
                               .x_stride = c.hidden,
                               .rows = rows_,
                               .experts = layer.experts,
                               .first_expert = shard_.begin(c.experts),
                               .ids = expert_ids_.data(),
                               .weights = expert_weights_.data(),
                               .chosen = c.experts_chosen,
                               .out = partial_.data(),
                               .out_stride = c.hidden});
  p_.context.scratch->reset();
}

Status DeepseekRank::sum_into_residual() {
  const auto count = static_cast<size_t>(rows_) * static_cast<size_t>(p_.config->hidden);
  if (shard_.size > 1) FATHOM_CHECKED(p_.comm->all_reduce(std::span(partial_).first(count)));
  p_.ops->add(p_.context,
              {.x = residual_.data(), .y = partial_.data(), .count = static_cast<int64_t>(count)});
  return {};
}

// Only rows that are asked for go through the vocabulary, a tile at a time.
Status DeepseekRank::logits(const Batch& batch, const LogitsSink& sink) {
  const ModelConfig& c = *p_.config;
  const auto wanted = batch.logit_rows();
  const int64_t part = p_.weights->lm_head.rows;
  at_least(tile_, int64_t{kLogitTile} * c.hidden);
  at_least(logits_, int64_t{kLogitTile} * c.vocab);
  if (shard_.size > 1) at_least(gathered_, int64_t{kLogitTile} * c.vocab);
  for (int32_t first = 0; first < static_cast<int32_t>(wanted.size()); first += kLogitTile) {
    rows_ = std::min(kLogitTile, static_cast<int32_t>(wanted.size()) - first);
    for (int32_t t = 0; t < rows_; ++t)
      std::copy_n(
          residual_.begin() +
              int64_t{wanted[static_cast<size_t>(first) + static_cast<size_t>(t)]} * c.hidden,
          c.hidden, tile_.begin() + int64_t{t} * c.hidden);
    norm(tile_, c.hidden, p_.weights->final_norm, c.norm_eps, tile_, c.hidden);
    linear(tile_, c.hidden, p_.weights->lm_head, logits_);
    if (shard_.size > 1) {  // rank-major to row-major
      const auto mine = static_cast<size_t>(rows_ * part);
      const auto all = std::span(gathered_).first(mine * static_cast<size_t>(shard_.size));
      FATHOM_CHECKED(p_.comm->all_gather(std::span(logits_).first(mine), all));
      if (shard_.rank != 0) continue;
      for (int32_t r = 0; r < shard_.size; ++r)
        for (int32_t t = 0; t < rows_; ++t)
          std::copy_n(all.begin() + (int64_t{r} * rows_ + t) * part, part,
                      logits_.begin() + int64_t{t} * c.vocab + r * part);
    }
    if (shard_.rank == 0)
      sink(first,
           std::span(logits_).first(static_cast<size_t>(rows_) * static_cast<size_t>(c.vocab)),
           rows_);
  }
  return {};
}

void DeepseekRank::norm(std::span<const float> x, int64_t x_stride, const Weight& weight, float eps,
                        std::span<float> out, int64_t out_stride) {
  p_.ops->rms_norm(p_.context, {.x = x.data(),
                                .x_stride = x_stride,
                                .weight = weight,
                                .eps = eps,
                                .rows = rows_,
                                .width = weight.cols,
                                .out = out.data(),
                                .out_stride = out_stride});
  p_.context.scratch->reset();
}

void DeepseekRank::linear(std::span<const float> x, int64_t x_stride, const Weight& weight,
                          std::span<float> y, bool exact) {
  p_.ops->linear(p_.context, {.x = x.data(),
                              .x_stride = x_stride,
                              .rows = rows_,
                              .weight = weight,
                              .y = y.data(),
                              .y_stride = weight.rows,
                              .exact = exact});
  p_.context.scratch->reset();
}

void DeepseekRank::rotate(std::span<float> x, int64_t row_stride, int64_t head_stride,
                          int32_t heads, const Batch& batch) {
  p_.ops->rope(p_.context, {.x = x.data(),
                            .row_stride = row_stride,
                            .head_stride = head_stride,
                            .rows = rows_,
                            .heads = heads,
                            .width = p_.config->rope,
                            .positions = batch.positions().data(),
                            .frequencies = rope_.frequencies.data(),
                            .magnitude = rope_.magnitude});
}

}  // namespace fathom
