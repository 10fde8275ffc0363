// What is the attention of Llama, DeepSeek-LLM and Qwen2 on one rank? Groups of query heads share a
// key-value head; the rank has its part of the query heads and writes its run of key-value heads.
// The families differ in data only: biases and rope scaling. docs/engine.md has the formulas.
#pragma once

#include "model/attention.h"

namespace fathom {

// Activations are kept from step to step and grow to the largest batch seen; a step no larger
// allocates nothing.
class GroupedAttention final : public Attention {
 public:
  // Of the model's key-value heads the caches hold some, from `first_cached` on.
  GroupedAttention(const RankOps& ops, Room& room, std::vector<KvCache> caches,
                   int32_t first_cached);
  void reserve(const Batch& batch, int32_t rows) override;
  Status run(const LayerWeights& layer, size_t cache, const BatchTables& batch, const RowsView& x,
             float* out) override;

 private:
  // Query heads of this rank that attend with whole groups, or with one key-value head.
  struct HeadRun {
    int32_t first = 0, heads = 0;
    int32_t first_kv = 0, kv_heads = 0;
  };

  void divide_heads();
  Status write_kv(const GqaWeights& weights, const KvCache& cache, const BatchTables& batch,
                  const RowsView& x);
  void attend(const KvCache& cache, const BatchTables& batch);

  const RankOps& ops_;
  std::vector<KvCache> caches_;
  int32_t first_cached_;  // of the model's key-value heads, in the caches
  int32_t heads_;         // of this rank
  std::vector<HeadRun> runs_;
  DeviceRope rope_;
  float scale_;
  std::vector<AttentionSequence> sequences_;
  RoomArray<float> q_, k_, v_;
  ProductInput attended_;
};

}  // namespace fathom
