// What is the forward pass of every family on one rank of a tensor-parallel group? A walk over a
// ragged batch: embedding; in every layer attention, then an MLP or experts, with a sum over the
// group after each (a rank has its heads, its channels, its experts); the vocabulary. And with a
// multi-token-prediction module one layer more, which drafts. Families differ in the attention
// behind its interface and in data. docs/engine.md has the formulas.
#pragma once

#include <optional>

#include "model/attention.h"
#include "model/draft_head.h"
#include "model/feed_forward.h"
#include "model/logits.h"
#include "model/replay.h"

namespace fathom {

// Activations are kept from step to step and grow to the largest batch seen; a step no larger
// allocates nothing.
class Decoder final : public ModelRank {
 public:
  // `weights` must outlive it.
  Decoder(const RankParts& parts, const ModelWeights& weights);
  Status forward(const Batch& batch, const LogitsSink& sink) override;
  Status draft(const Batch& batch, std::span<const int32_t> from, const LogitsSink& sink) override;
  Status assist(const AssistedPass& pass) override;

 private:
  void keep_rows(int32_t rows);  // in residual_
  void reserve(const Batch& batch, int32_t rows);
  Status assist_layers(ExpertPass what);
  // Embedding and all layers, over what batch_ holds.
  Status run_layers();
  // The draft module's layer, over what batch_ holds: a guess is the likeliest of what the head
  // makes of residual_.
  void reserve_draft(const Batch& batch, int32_t rows);
  Status run_draft();
  const Weight& draft_head() const {
    return draft_head_ ? draft_head_->weight() : weights_.ends.lm_head;
  }
  // This rank's part of what a half of a layer adds.
  float* partial() const {
    return ops_.device().is_host() ? reinterpret_cast<float*>(room_.data()) : partial_.data();
  }
  // `next_norm`: of what follows the layer, applied to its result into normed_; null: nothing.
  Status run_layer(const LayerWeights& layer, size_t index, const Weight* next_norm);
  RowsView normed() const { return normed_.rows(ops_.config().hidden); }

  RankOps ops_;
  const ModelWeights& weights_;
  Room room_;  // of attention and of the MLP, in turn; on a host partial() is in it
  std::unique_ptr<Attention> attention_;
  BatchTables batch_;
  Buffer<float> residual_, partial_;
  ProductInput normed_;
  Buffer<float> hidden_, pair_;          // of the draft module
  std::optional<DraftHead> draft_head_;  // without: guesses use the model's own
  const Weight* last_norm_ = nullptr;    // of what ran last: residual_ awaits it
  int32_t rows_kept_ = 0;                // for which residual_ has room
  FeedForward feed_forward_;
  LogitsTail logits_;
};

}  // namespace fathom
