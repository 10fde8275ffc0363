// What is the forward pass of Llama, DeepSeek-LLM and Qwen2 on one rank of a tensor-parallel group?
// Attention in groups of heads and a dense MLP over a ragged batch, with two sums over the group in
// every layer. The families differ in data only: biases, rope scaling, tied embeddings.
// docs/engine.md has the formulas.
#pragma once

#include "model/feed_forward.h"
#include "model/logits.h"
#include "model/replay.h"

namespace fathom {

// Activations are kept from step to step and grow to the largest batch seen; a step no larger
// allocates nothing.
class LlamaRank final : public ModelRank {
 public:
  LlamaRank(RankParts parts, const LlamaWeights& weights);
  Status forward(const Batch& batch, const LogitsSink& sink) override;

 private:
  // Query heads of this rank that attend with whole groups, or with one key-value head.
  struct HeadRun {
    int32_t first = 0, heads = 0;
    int32_t first_kv = 0, kv_heads = 0;
  };

  void divide_heads();
  Status run_layers();
  // `next_norm`: of what follows the layer, applied to its result into normed_; null: nothing.
  Status run_layer(const LlamaLayer& layer, int32_t index, const Weight* next_norm);
  Status attention(const GqaWeights& weights, const KvCache& cache);
  Status write_kv(const GqaWeights& weights, const KvCache& cache);
  void attend(const KvCache& cache);
  void reserve(const Batch& batch, int32_t rows);
  RowsView normed() const { return normed_.rows(ops_.config().hidden); }

  RankOps ops_;
  const LlamaWeights& weights_;
  std::vector<KvCache> caches_;
  int32_t heads_;  // of this rank
  std::vector<HeadRun> runs_;
  DeviceRope rope_;
  float scale_;
  std::vector<AttentionSequence> sequences_;
  BatchTables batch_;
  Buffer<float> residual_, q_, k_, v_, partial_;
  ProductInput normed_, attended_;
  FeedForward feed_forward_;
  LogitsTail logits_;
};

}  // namespace fathom
