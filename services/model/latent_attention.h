// What is the attention of DeepSeek V2, V3 and R1 on one rank? Latent attention (MLA): what the
// cache keeps of a position is one latent and one rope key for all heads; the rank has its part of
// the heads, in the expanded or the absorbed form. docs/engine.md has the formulas.
#pragma once

#include <optional>

#include "model/attention.h"

namespace fathom {

// Activations are kept from step to step and grow to the largest batch seen; a step no larger
// allocates nothing.
class LatentAttention final : public Attention {
 public:
  LatentAttention(const RankOps& ops, Room& room, std::vector<LatentCache> caches);
  void reserve(const Batch& batch, int32_t rows) override;
  Status run(const LayerWeights& layer, size_t cache, const BatchTables& batch, const RowsView& x,
             float* out) override;

 private:
  void prepare(const MlaWeights& weights, const LatentCache& cache, const BatchTables& batch,
               const RowsView& x);
  void attend(const MlaWeights& weights, const LatentCache& cache, const BatchTables& batch);
  RowsView attended() const;  // [rows, heads, value], what attention gave

  const RankOps& ops_;
  const Room& room_;
  std::vector<LatentCache> caches_;
  int32_t heads_;  // of this rank
  DeviceRope rope_;
  float scale_;
  const Batch* rows_ = nullptr;  // of this step
  RoomArray<float> q_rank_, q_, latent_;
  std::optional<ProductInput> q_normed_, attended_;  // not on a host where all are float32
};

}  // namespace fathom
