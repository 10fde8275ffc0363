// What does one process of a group hold? The mapped checkpoint, its ranks with their views of it,
// one KV pool and the ranks' threads. Both the leader's engine and a follower are made of this.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "engine/rank_threads.h"
#include "engine/tp_engine.h"
#include "kv/pool.h"
#include "model/config.h"
#include "model/forward.h"
#include "model/prefault.h"
#include "model/safetensors.h"
#include "model/weights.h"

namespace fathom {

class ModelRanks {
 public:
  // Reads config and weights, those of its ranks.
  static Result<std::unique_ptr<ModelRanks>> load(const TpEngineConfig& config,
                                                  const LoadProgress& progress);
  // Gives the ranks their connections, then a pool of `blocks`. Each once; forward needs both.
  void attach(std::vector<std::unique_ptr<Comm>> comms);
  Status start(int32_t blocks);

  const ModelConfig& model() const { return model_; }
  const std::string& digest() const { return digest_; }
  const KvLayout& layout() const { return layout_; }
  const Prefaulted& loaded() const { return loaded_; }
  std::string_view kernels() const { return ops_->name; }
  KvPool& pool() { return *pool_; }
  const KvPool& pool() const { return *pool_; }
  RankThreads& threads() { return *threads_; }
  Comm& comm(int32_t local) { return *ranks_[static_cast<size_t>(local)].comm; }
  BreakableBarrier& barrier() { return *barrier_; }
  // On the thread of that rank.
  Status forward(int32_t local, const Batch& batch, const LogitsSink& sink);
  Status draft(int32_t local, const Batch& batch, std::span<const int32_t> from,
               const LogitsSink& sink);

 private:
  struct Rank {
    std::unique_ptr<WeightReader> reader;
    ModelWeights weights;
    std::unique_ptr<Lanes> lanes;
    std::unique_ptr<Scratch> scratch;
    std::unique_ptr<Comm> comm;
    std::unique_ptr<ModelRank> forward;
  };

  ModelRanks() = default;
  Status read_weights(const TpEngineConfig& config, const LoadProgress& progress);

  ModelConfig model_;
  std::string digest_;
  Compute compute_ = Compute::float32;
  KvLayout layout_;
  Prefaulted loaded_;
  LayerTap layer_tap_;
  const Ops* ops_ = nullptr;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<Rank> ranks_;
  std::optional<KvPool> pool_;
  std::unique_ptr<BreakableBarrier> barrier_;
  std::unique_ptr<RankThreads> threads_;
};

// One connection for each rank of this process, to all ranks of the group.
Result<std::vector<std::unique_ptr<Comm>>> connect_group(const TpEngineConfig& config,
                                                         const std::string& digest);

}  // namespace fathom
