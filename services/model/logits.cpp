#include "model/logits.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr int32_t kLogitTile = 32;  // rows; 32 x 129,280 float32 are 16 MiB

}  // namespace

Status LogitsTail::run(RankOps& ops, const Weight& final_norm, const Weight& lm_head,
                       std::span<const float> residual, std::span<const int32_t> wanted,
                       const LogitsSink& sink) {
  const ModelConfig& c = ops.config();
  at_least(tile_, int64_t{kLogitTile} * c.hidden);
  at_least(logits_, int64_t{kLogitTile} * c.vocab);
  if (ops.shard().size > 1) at_least(gathered_, int64_t{kLogitTile} * c.vocab);
  for (int32_t first = 0; first < static_cast<int32_t>(wanted.size()); first += kLogitTile) {
    const int32_t rows = std::min(kLogitTile, static_cast<int32_t>(wanted.size()) - first);
    ops.set_rows(rows);
    for (int32_t t = 0; t < rows; ++t)
      std::copy_n(
          residual.begin() +
              int64_t{wanted[static_cast<size_t>(first) + static_cast<size_t>(t)]} * c.hidden,
          c.hidden, tile_.begin() + int64_t{t} * c.hidden);
    ops.norm(tile_, c.hidden, final_norm, c.norm_eps, tile_, c.hidden);
    ops.linear(tile_, c.hidden, lm_head, logits_);
    if (ops.shard().size > 1) FATHOM_CHECKED(gather(ops, lm_head.rows));
    if (ops.shard().rank == 0)
      sink(first,
           std::span(logits_).first(static_cast<size_t>(rows) * static_cast<size_t>(c.vocab)),
           rows);
  }
  return {};
}

// Each rank's [rows, part] to rows of the whole vocabulary on rank 0.
Status LogitsTail::gather(const RankOps& ops, int32_t part) {
  const int32_t ranks = ops.shard().size, rows = ops.rows();
  const auto mine = static_cast<size_t>(rows) * static_cast<size_t>(part);
  const auto all = std::span(gathered_).first(mine * static_cast<size_t>(ranks));
  FATHOM_CHECKED(ops.comm().all_gather(std::span(logits_).first(mine), all));
  if (ops.shard().rank != 0) return {};
  for (int32_t r = 0; r < ranks; ++r)
    for (int32_t t = 0; t < rows; ++t)
      std::copy_n(all.begin() + (int64_t{r} * rows + t) * part, part,
                  logits_.begin() + int64_t{t} * ops.config().vocab + int64_t{r} * part);
  return {};
}

}  // namespace fathom
