#include "model/llama.h"

#include <algorithm>
#include <cmath>

namespace fathom {

namespace {

RopeTable rope_of(const ModelConfig& c) {
  RopeTable table = make_rope_table(c.head_dim, c.rope_theta, c.scaling);
  table.halves = true;
  return table;
}

}  // namespace

LlamaRank::LlamaRank(RankParts parts, const LlamaWeights& weights)
    : ops_(parts),
      weights_(weights),
      caches_(std::move(parts.kv_caches)),
      heads_(ops_.shard().part(parts.config->heads)),
      rope_(ops_.device(), rope_of(*parts.config)),
      batch_(ops_.device()),
      residual_(ops_.device()),
      q_(ops_.device()),
      k_(ops_.device()),
      v_(ops_.device()),
      partial_(ops_.device()),
      normed_(ops_.device(), ops_.product_input()),
      attended_(ops_.device(), ops_.product_input()),
      feed_forward_(ops_),
      logits_(ops_.device()) {
  const ModelConfig& c = ops_.config();
  CHECK(static_cast<int32_t>(caches_.size()) == c.layers);
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

void LlamaRank::reserve(const Batch& batch, int32_t rows) {
  const ModelConfig& c = ops_.config();
  const int64_t n = rows;
  ops_.set_rows(rows);
  residual_.at_least(n * c.hidden);
  normed_.at_least(n * c.hidden);
  partial_.at_least(n * c.hidden);
  q_.at_least(n * heads_ * c.head_dim);
  attended_.at_least(n * heads_ * c.head_dim);
  const int64_t kv_width = weights_.layers.front().attention.k.rows;
  k_.at_least(n * kv_width);
  v_.at_least(n * kv_width);
  feed_forward_.reserve(c, ops_.shard(), rows);
  // There is one form of attention here; the batch tells two apart.
  sequences_.assign(batch.expanded().begin(), batch.expanded().end());
  sequences_.insert(sequences_.end(), batch.absorbed().begin(), batch.absorbed().end());
}

Status LlamaRank::forward(const Batch& batch, const LogitsSink& sink) {
  const EndWeights& ends = weights_.ends;
  if (const auto padding = padding_for(batch, ops_, logits_.tile_rows())) {
    reserve(batch, padding->rows);
    logits_.reserve(ops_.config(), ops_.shard(), padding->rows);
    batch_.lay_out_padded(batch, *padding);
    Status status;
    ops_.device().replay({.rows = padding->rows, .context = padding->context}, [&] {
      ops_.set_rows(padding->rows);
      status = run_layers();
      if (!status.ok()) return;
      status = logits_.compute(ops_, ends.final_norm, ends.lm_head, residual_.data(),
                               batch_.logit_rows(), padding->rows);
    });
    if (!status.ok()) return status;
    logits_.deliver(ops_, 0, batch.rows(), sink);
    return {};
  }
  reserve(batch, batch.rows());
  batch_.lay_out(batch);
  FATHOM_CHECKED(run_layers());
  return logits_.run(ops_, ends.final_norm, ends.lm_head, residual_.data(), batch_.logit_rows(),
                     static_cast<int32_t>(batch.logit_rows().size()), sink);
}

Status LlamaRank::run_layers() {
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

Status LlamaRank::run_layer(const LlamaLayer& layer, int32_t index, const Weight* next_norm) {
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

Status LlamaRank::attention(const GqaWeights& w, const KvCache& cache) {
  const ModelConfig& c = ops_.config();
  ops_.linear(normed(), w.q, q_.data());
  ops_.add_bias(w.q_bias, q_.data());
  ops_.rotate({.values = q_.data(),
               .row_stride = int64_t{heads_} * c.head_dim,
               .head_stride = c.head_dim,
               .heads = heads_},
              rope_, batch_);
  FATHOM_CHECKED(write_kv(w, cache));
  attend(cache);
  ops_.linear(attended_.rows(int64_t{heads_} * c.head_dim), w.o, partial_.data());
  // Once, for the ranks' parts are summed.
  if (ops_.shard().rank == 0) ops_.add_bias(w.o_bias, partial_.data());
  return {};
}

// This rank's run of key-value heads, beside those of the other ranks of its process.
Status LlamaRank::write_kv(const GqaWeights& w, const KvCache& cache) {
  const ModelConfig& c = ops_.config();
  if (w.k.rows > 0) {
    const int32_t heads = w.k.rows / c.head_dim;
    ops_.linear(normed(), w.k, k_.data());
    ops_.add_bias(w.k_bias, k_.data());
    ops_.linear(normed(), w.v, v_.data());
    ops_.add_bias(w.v_bias, v_.data());
    ops_.rotate(
        {.values = k_.data(), .row_stride = w.k.rows, .head_stride = c.head_dim, .heads = heads},
        rope_, batch_);
    ops_.table().kv_write(ops_.context(), {.k = k_.data(),
                                           .k_stride = w.k.rows,
                                           .v = v_.data(),
                                           .v_stride = w.v.rows,
                                           .rows = ops_.rows(),
                                           .first_head = w.first_kv_head,
                                           .heads = heads,
                                           .slots = batch_.slots(),
                                           .cache = cache});
    ops_.context().scratch->reset();
  }
  return ops_.wait_for_cache();
}

void LlamaRank::attend(const KvCache& cache) {
  const int64_t dim = cache.dim;
  const RowsView out = attended_.rows(heads_ * dim);
  for (const HeadRun& run : runs_) {
    ops_.table().gqa(ops_.context(), {.sequences = sequences_,
                                      .tables = batch_.all(),
                                      .q = q_.data() + run.first * dim,
                                      .q_stride = heads_ * dim,
                                      .heads = run.heads,
                                      .first_kv_head = run.first_kv,
                                      .kv_heads = run.kv_heads,
                                      .cache = cache,
                                      .scale = scale_,
                                      .out = static_cast<char*>(out.data) +
                                             run.first * dim * dtype_bytes(out.dtype),
                                      .out_dtype = out.dtype,
                                      .out_stride = out.stride});
    ops_.context().scratch->reset();
  }
}

}  // namespace fathom
