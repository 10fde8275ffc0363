// Which rows go through the vocabulary, and who gets the result? Only those that are asked for, a
// tile at a time; every rank computes its slice of the vocabulary and rank 0 gathers them.
#pragma once

#include "model/rank_ops.h"

namespace fathom {

class LogitsTail {
 public:
  explicit LogitsTail(Device& device);

  // `residual` is [batch rows, hidden]; `wanted` names `count` of them. Sets the rows of `ops` to
  // those of the last tile.
  Status run(RankOps& ops, const Weight& final_norm, const Weight& lm_head, const float* residual,
             const int32_t* wanted, int32_t count, const LogitsSink& sink);

  // The two halves of one tile, for work that is recorded: the first only says operations.
  int32_t tile_rows() const { return tile_rows_; }
  void reserve(const ModelConfig& config, const Shard& shard, int32_t rows);
  Status compute(RankOps& ops, const Weight& final_norm, const Weight& lm_head,
                 const float* residual, const int32_t* wanted, int32_t rows);
  Status deliver(const RankOps& ops, int32_t first, int32_t rows, const LogitsSink& sink) const;

 private:
  int32_t tile_rows_;
  Buffer<float> tile_, part_, logits_, gathered_;
  std::unique_ptr<ProductInput> normed_;
};

}  // namespace fathom
