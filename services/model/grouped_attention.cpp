#include "model/grouped_attention.h"

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

GroupedAttention::GroupedAttention(const RankOps& ops, Room& room, std::vector<KvCache> caches,
                                   int32_t first_cached)
    : ops_(ops),
      caches_(std::move(caches)),
      first_cached_(first_cached),
      heads_(ops.shard().part(ops.config().heads)),
      rope_(ops.device(), rope_of(ops.config())),
      q_(room),
      k_(room),
      v_(room),
      attended_(ops.device(), ops.product_input()) {
  const ModelConfig& c = ops_.config();
  CHECK(static_cast<int32_t>(caches_.size()) == c.layers);
  scale_ = static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim)));
  divide_heads();
}

// The rank's heads begin and end anywhere among the groups of the model: a part of a group, whole
// groups, a part of a group.
void GroupedAttention::divide_heads() {
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

void GroupedAttention::reserve(const Batch& batch, int32_t rows) {
  const ModelConfig& c = ops_.config();
  const int64_t n = rows;
  int64_t at = 0;
  q_.place(at, n * heads_ * c.head_dim);
  attended_.at_least(n, int64_t{heads_} * c.head_dim);
  const int64_t kv_width = int64_t{c.kv_heads} * c.head_dim;  // the rank's run is no longer
  k_.place(at, n * kv_width);
  v_.place(at, n * kv_width);
  // There is one form of attention here; the batch tells two apart.
  sequences_.assign(batch.expanded().begin(), batch.expanded().end());
  sequences_.insert(sequences_.end(), batch.absorbed().begin(), batch.absorbed().end());
}

Status GroupedAttention::run(const LayerWeights& layer, size_t cache, const BatchTables& batch,
                             const RowsView& x, float* out) {
  const auto& w = std::get<GqaWeights>(layer.attention);
  const ModelConfig& c = ops_.config();
  ops_.linear(x, w.q, q_.data());
  ops_.add_bias(w.q_bias, q_.data());
  ops_.rotate({.values = q_.data(),
               .row_stride = int64_t{heads_} * c.head_dim,
               .head_stride = c.head_dim,
               .heads = heads_},
              rope_, batch);
  FATHOM_CHECKED(write_kv(w, caches_[cache], batch, x));
  attend(caches_[cache], batch);
  ops_.linear(attended_.rows(int64_t{heads_} * c.head_dim), w.o, out);
  // Once, for the ranks' parts are summed.
  if (ops_.shard().rank == 0) ops_.add_bias(w.o_bias, out);
  return {};
}

// This rank's run of key-value heads, beside those of the other ranks of its process.
Status GroupedAttention::write_kv(const GqaWeights& w, const KvCache& cache,
                                  const BatchTables& batch, const RowsView& x) {
  const ModelConfig& c = ops_.config();
  if (w.k.rows > 0) {
    const int32_t heads = w.k.rows / c.head_dim;
    ops_.linear(x, w.k, k_.data());
    ops_.add_bias(w.k_bias, k_.data());
    ops_.linear(x, w.v, v_.data());
    ops_.add_bias(w.v_bias, v_.data());
    ops_.rotate(
        {.values = k_.data(), .row_stride = w.k.rows, .head_stride = c.head_dim, .heads = heads},
        rope_, batch);
    ops_.table().kv_write(ops_.context(), {.k = k_.data(),
                                           .k_stride = w.k.rows,
                                           .v = v_.data(),
                                           .v_stride = w.v.rows,
                                           .rows = ops_.rows(),
                                           .first_head = w.first_kv_head - first_cached_,
                                           .heads = heads,
                                           .slots = batch.slots(),
                                           .cache = cache});
    ops_.context().scratch->reset();
  }
  return ops_.wait_for_cache();
}

void GroupedAttention::attend(const KvCache& cache, const BatchTables& batch) {
  const int64_t dim = cache.dim;
  const RowsView out = attended_.rows(heads_ * dim);
  for (const HeadRun& run : runs_) {
    ops_.table().gqa(ops_.context(), {.sequences = sequences_,
                                      .tables = batch.all(),
                                      .q = q_.data() + run.first * dim,
                                      .q_stride = heads_ * dim,
                                      .heads = run.heads,
                                      .first_kv_head = run.first_kv - first_cached_,
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
