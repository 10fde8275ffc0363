// What is the forward pass of DeepSeek V3/R1 on one rank of a tensor-parallel group? A sequence of
// operations over a ragged batch, each from the backend's table, with two sums over the group in
// every layer: after attention (each rank has its heads) and after the MLP (each rank has its
// channels and experts). docs/engine.md has the formulas.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "comm/comm.h"
#include "kernels/ops.h"
#include "model/batch.h"
#include "model/config.h"
#include "model/rope.h"
#include "model/shard.h"
#include "model/weights.h"

namespace fathom {

// Ranks of one process share one KV pool: the first writes, and all wait here until it has. False
// when a rank gave up; then nobody may go on.
class LocalBarrier {
 public:
  virtual ~LocalBarrier() = default;
  virtual bool arrive_and_wait() = 0;
};

// Receives logits of rank 0 while the forward runs: `first` counts within Batch::logit_rows(). A
// tile of rows at a time, so that scoring a long prompt needs no memory for all its logits.
using LogitsSink = std::function<void(int32_t first, std::span<const float> logits, int32_t rows)>;

struct DeepseekRankParts {
  const ModelConfig* config = nullptr;
  const DeepseekWeights* weights = nullptr;
  const Ops* ops = nullptr;
  OpContext context;
  Comm* comm = nullptr;
  std::vector<LatentCache> caches;  // one a layer
  LocalBarrier* barrier = nullptr;  // null: this rank has the pool for itself
  bool writes_cache = true;         // the first rank of its process
};

// Activations are kept from step to step and grow to the largest batch seen; a step no larger
// allocates nothing.
class DeepseekRank {
 public:
  explicit DeepseekRank(DeepseekRankParts parts);
  // Runs the batch; every rank of the group calls it with the same batch. `sink` is used on rank 0
  // only.
  Status forward(const Batch& batch, const LogitsSink& sink);

 private:
  Status attention(const DeepseekLayer& layer, size_t index, const Batch& batch);
  void queries(const DeepseekLayer& layer, const Batch& batch);
  Status write_latents(const DeepseekLayer& layer, const LatentCache& cache, const Batch& batch);
  void attend(const DeepseekLayer& layer, const LatentCache& cache, const Batch& batch);
  Status feed_forward(const DeepseekLayer& layer);
  void dense(const DenseWeights& weights);
  void routed(const DeepseekLayer& layer);
  Status logits(const Batch& batch, const LogitsSink& sink);
  Status sum_into_residual();
  void reserve(int32_t rows);
  // Small wrappers over the table, so that the layers above read like the formulas.
  void norm(std::span<const float> x, int64_t x_stride, const Weight& weight, float eps,
            std::span<float> out, int64_t out_stride);
  void linear(std::span<const float> x, int64_t x_stride, const Weight& weight, std::span<float> y,
              bool exact = false);
  void rotate(std::span<float> x, int64_t row_stride, int64_t head_stride, int32_t heads,
              const Batch& batch);

  DeepseekRankParts p_;
  Shard shard_;
  int32_t heads_;  // of this rank
  RopeTable rope_;
  float scale_;
  int32_t rows_ = 0;  // of the batch that runs
  std::vector<float> residual_, normed_, q_rank_, q_, latent_, latent_normed_, attended_, partial_;
  std::vector<float> gate_, up_, router_, expert_weights_, tile_, logits_, gathered_;
  std::vector<int32_t> expert_ids_;
};

}  // namespace fathom
