// Which rows go through the vocabulary, and who gets the result? Only those that are asked for, a
// tile at a time; every rank computes its slice of the vocabulary and rank 0 gathers them.
#pragma once

#include "model/rank_ops.h"

namespace fathom {

class LogitsTail {
 public:
  // `residual` is [batch rows, hidden]. Sets the rows of `ops` to those of the last tile.
  Status run(RankOps& ops, const Weight& final_norm, const Weight& lm_head,
             std::span<const float> residual, std::span<const int32_t> wanted,
             const LogitsSink& sink);

 private:
  Status gather(const RankOps& ops, int32_t part);

  std::vector<float> tile_, logits_, gathered_;
};

}  // namespace fathom
