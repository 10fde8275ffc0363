#include "model/llama.h"

#include <algorithm>
#include <cmath>

namespace fathom {

LlamaRank::LlamaRank(RankParts parts, const LlamaWeights& weights)
    : ops_(parts),
      weights_(weights),
      caches_(std::move(parts.kv_caches)),
      heads_(ops_.shard().part(parts.config->heads)) {
  const ModelConfig& c = ops_.config();
  CHECK(static_cast<int32_t>(caches_.size()) == c.layers);
  rope_ = make_rope_table(c.head_dim, c.rope_theta, c.scaling);
  rope_.halves = true;
  scale_ = static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
  divide_heads();
}

// The rank's heads begin and end anywhere among the groups of the model: a part of a group, whole
// groups, a part of a group.
void LlamaRank::divide_heads() {
  const ModelConfig& c = ops_.config();
  const int32_t group = c.heads / c.kv_heads;
  const int32_t begin = ops_.shard().begin(c.heads), end = begin + heads_;
  for (int32_t at = begin; at < end;) {
    const bool whole = at % group == 0 && end - at >= group;
    const int32_t count =
        whole ? (end - at) / group * group : std::min(group - at % group, end - at);
    runs_.push_back({at - begin, count, at / group, whole ? count / group : 1});
    at += count;
  }
}

void LlamaRank::reserve(const Batch& batch) {
  const ModelConfig& c = ops_.config();
  const int64_t n = batch.rows();
  ops_.set_rows(batch.rows());
  at_least(residual_, n * c.hidden);
  at_least(normed_, n * c.hidden);
  at_least(partial_, n * c.hidden);
  at_least(q_, n * heads_ * c.head_dim);
  at_least(attended_, n * heads_ * c.head_dim);
  const int64_t kv_width = weights_.layers.front().attention.k.rows;
  at_least(k_, n * kv_width);
  at_least(v_, n * kv_width);
  feed_forward_.reserve(c, ops_.shard(), batch.rows());
  // There is one form of attention here; the batch tells two apart.
  sequences_.assign(batch.expanded().begin(), batch.expanded().end());
  sequences_.insert(sequences_.end(), batch.absorbed().begin(), batch.absorbed().end());
}

Status LlamaRank::forward(const Batch& batch, const LogitsSink& sink) {
  reserve(batch);
  ops_.embed(weights_.ends.embed, batch, residual_);
  ops_.tap(-1, "embed", residual_);
  for (size_t i = 0; i < weights_.layers.size(); ++i)
    FATHOM_CHECKED(run_layer(weights_.layers[i], static_cast<int32_t>(i), batch));
  return logits_.run(ops_, weights_.ends.final_norm, weights_.ends.lm_head, residual_,
                     batch.logit_rows(), sink);
}

Status LlamaRank::run_layer(const LlamaLayer& layer, int32_t index, const Batch& batch) {
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

Status LlamaRank::attention(const GqaWeights& w, const KvCache& cache, const Batch& batch) {
  const ModelConfig& c = ops_.config();
  ops_.linear(normed_, c.hidden, w.q, q_);
  ops_.add_bias(w.q_bias, q_);
  ops_.rotate({.values = q_,
               .row_stride = int64_t{heads_} * c.head_dim,
               .head_stride = c.head_dim,
               .heads = heads_},
              rope_, batch);
  FATHOM_CHECKED(write_kv(w, cache, batch));
  attend(cache);
  ops_.linear(attended_, int64_t{heads_} * c.head_dim, w.o, partial_);
  // Once, for the ranks' parts are summed.
  if (ops_.shard().rank == 0) ops_.add_bias(w.o_bias, partial_);
  return {};
}

// This rank's run of key-value heads, beside those of the other ranks of its process.
Status LlamaRank::write_kv(const GqaWeights& w, const KvCache& cache, const Batch& batch) {
  const ModelConfig& c = ops_.config();
  if (w.k.rows > 0) {
    const int32_t heads = w.k.rows / c.head_dim;
    ops_.linear(normed_, c.hidden, w.k, k_);
    ops_.add_bias(w.k_bias, k_);
    ops_.linear(normed_, c.hidden, w.v, v_);
    ops_.add_bias(w.v_bias, v_);
    ops_.rotate({.values = k_, .row_stride = w.k.rows, .head_stride = c.head_dim, .heads = heads},
                rope_, batch);
    ops_.table().kv_write(ops_.context(), {.k = k_.data(),
                                           .k_stride = w.k.rows,
                                           .v = v_.data(),
                                           .v_stride = w.v.rows,
                                           .rows = ops_.rows(),
                                           .first_head = w.first_kv_head,
                                           .heads = heads,
                                           .slots = batch.slots().data(),
                                           .cache = cache});
    ops_.context().scratch->reset();
  }
  return ops_.wait_for_cache();
}

void LlamaRank::attend(const KvCache& cache) {
  const int64_t dim = cache.dim;
  for (const HeadRun& run : runs_) {
    ops_.table().gqa(ops_.context(), {.sequences = sequences_,
                                      .q = q_.data() + run.first * dim,
                                      .q_stride = heads_ * dim,
                                      .heads = run.heads,
                                      .first_kv_head = run.first_kv,
                                      .kv_heads = run.kv_heads,
                                      .cache = cache,
                                      .scale = scale_,
                                      .out = attended_.data() + run.first * dim,
                                      .out_stride = heads_ * dim});
    ops_.context().scratch->reset();
  }
}

}  // namespace fathom
