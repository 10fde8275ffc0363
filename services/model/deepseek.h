// What is the forward pass of DeepSeek V2, V3 and R1 on one rank of a tensor-parallel group? Latent
// attention (MLA) and experts over a ragged batch, with two sums over the group in every layer:
// after attention (each rank has its heads) and after the MLP (each rank has its channels and
// experts). docs/engine.md has the formulas.
#pragma once

#include <optional>

#include "model/draft_head.h"
#include "model/feed_forward.h"
#include "model/logits.h"
#include "model/replay.h"

namespace fathom {

// Activations are kept from step to step and grow to the largest batch seen; a step no larger
// allocates nothing.
class DeepseekRank final : public ModelRank {
 public:
  DeepseekRank(RankParts parts, const DeepseekWeights& weights);
  Status forward(const Batch& batch, const LogitsSink& sink) override;
  Status draft(const Batch& batch, std::span<const int32_t> from, const LogitsSink& sink) override;

 private:
  // Embedding and all layers, over what batch_ holds.
  Status run_layers();
  // `next_norm`: of what follows the layer, applied to its result into normed_; null: nothing.
  Status run_layer(const DeepseekLayer& layer, int32_t index, const Weight* next_norm);
  Status attention(const MlaWeights& weights, const LatentCache& cache);
  void prepare(const MlaWeights& weights, const LatentCache& cache);
  void attend(const MlaWeights& weights, const LatentCache& cache);
  void reserve(int32_t rows);
  RowsView normed() const { return normed_.rows(ops_.config().hidden); }

  RankOps ops_;
  const DeepseekWeights& weights_;
  std::vector<LatentCache> caches_;
  int32_t heads_;  // of this rank
  DeviceRope rope_;
  float scale_;
  BatchTables batch_;
  const Batch* rows_ = nullptr;  // of this step
  Buffer<float> residual_, q_rank_, q_, latent_, partial_;
  ProductInput normed_, q_normed_, attended_;
  Buffer<float> hidden_, pair_;          // of the draft module
  std::optional<DraftHead> draft_head_;  // without: guesses use the model's own
  const Weight* last_norm_ = nullptr;    // of what ran last: residual_ awaits it
  FeedForward feed_forward_;
  LogitsTail logits_;
};

}  // namespace fathom
