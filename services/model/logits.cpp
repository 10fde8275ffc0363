#include "model/logits.h"

#include <algorithm>

namespace fathom {
namespace {

// 32 x 129,280 float32 are 16 MiB. A GPU multiplies more rows in the same time.
constexpr int32_t kHostTile = 32, kDeviceTile = 512;

}  // namespace

LogitsTail::LogitsTail(Device& device)
    : tile_rows_(device.is_host() ? kHostTile : kDeviceTile),
      tile_(device),
      part_(device),
      logits_(device),
      gathered_(device) {}

void LogitsTail::reserve(const ModelConfig& c, const Shard& shard, int32_t rows) {
  // On the host the whole tile at once, so that it never moves; a GPU's memory is for KV.
  const int64_t n = logits_.device().is_host() ? tile_rows_ : rows;
  tile_.at_least(n * c.hidden);
  logits_.at_least(n * c.vocab);
  if (shard.size > 1) {
    part_.at_least(n * shard.part(c.vocab));
    gathered_.at_least(n * c.vocab);
  }
}

Status LogitsTail::run(RankOps& ops, const Weight& final_norm, const Weight& lm_head,
                       const float* residual, const int32_t* wanted, int32_t count,
                       const LogitsSink& sink) {
  for (int32_t first = 0; first < count; first += tile_rows_) {
    const int32_t rows = std::min(tile_rows_, count - first);
    reserve(ops.config(), ops.shard(), rows);
    FATHOM_CHECKED(compute(ops, final_norm, lm_head, residual, wanted + first, rows));
    FATHOM_CHECKED(deliver(ops, first, rows, sink));
  }
  return {};
}

Status LogitsTail::compute(RankOps& ops, const Weight& final_norm, const Weight& lm_head,
                           const float* residual, const int32_t* wanted, int32_t rows) {
  const ModelConfig& c = ops.config();
  if (!normed_) normed_ = std::make_unique<ProductInput>(ops.device(), ops.product_input());
  normed_->at_least(rows, c.hidden);
  const RowsView normed = normed_->rows(c.hidden);
  ops.set_rows(rows);
  ops.gather(residual, wanted, c.hidden, tile_.data());
  ops.norm(tile_.data(), c.hidden, final_norm, c.norm_eps, normed);
  if (ops.shard().size == 1) {
    ops.linear(normed, lm_head, logits_.data());
    return {};
  }
  ops.linear(normed, lm_head, part_.data());
  return ops.gather_columns(part_.data(), lm_head.rows, gathered_, logits_.data());
}

Status LogitsTail::deliver(const RankOps& ops, int32_t first, int32_t rows,
                           const LogitsSink& sink) const {
  if (ops.shard().rank != 0) return {};
  const auto count = static_cast<size_t>(rows) * static_cast<size_t>(ops.config().vocab);
  return sink(first, std::span<const float>(logits_.data(), count), rows);
}

}  // namespace fathom
