// What does one process of a group hold? The mapped checkpoint, its ranks with their devices and
// their weights there, their KV and the ranks' threads. Both the leader's engine and a
// follower are made of this.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "engine/rank_threads.h"
#include "engine/tp_engine.h"
#include "kernels/batch_sampler.h"
#include "kernels/collectives.h"
#include "kernels/placed.h"
#include "kv/divided_pool.h"
#include "model/buffer.h"
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
  ~ModelRanks();
  ModelRanks(const ModelRanks&) = delete;
  ModelRanks& operator=(const ModelRanks&) = delete;
  // Gives the ranks their connections, then a pool of `blocks`. Each once; forward needs both.
  void attach(std::vector<std::unique_ptr<Comm>> comms);
  // Before start, where this group's one rank has a part of the experts.
  void share_experts(std::unique_ptr<ExpertExchange> exchange) { exchange_ = std::move(exchange); }
  Status start(int32_t blocks);

  const ModelConfig& model() const { return model_; }
  const std::string& digest() const { return digest_; }
  const KvLayout& layout() const { return layout_; }
  const Prefaulted& loaded() const { return loaded_; }
  std::string_view kernels() const { return ops_->name; }
  int32_t blocks() const { return kv_->blocks(); }
  // Blocks of KV that fit beside the weights, within what the settings allow.
  Result<int32_t> count_blocks(const TpEngineConfig& config) const;
  // Copies of whole blocks; a write reaches every pool of this process. From any thread.
  Status read_block(BlockIndex block, std::span<std::byte> out) const;
  Status write_block(BlockIndex block, std::span<const std::byte> in);
  std::unique_ptr<BatchSampler> make_sampler();
  Device& device(int32_t local) { return *ranks_[static_cast<size_t>(local)].device; }
  // Room for so many drawn ids on that rank's device: what a batch is fed from.
  TokenId* drawn(int32_t local, int64_t count);
  RankThreads& threads() { return *threads_; }
  Comm& comm(int32_t local) { return *ranks_[static_cast<size_t>(local)].comm; }
  BreakableBarrier& barrier() { return *barrier_; }
  // On the thread of that rank; what they say is done when a mark behind it is reached.
  // The first `count` ids of the group's rank 0 become everyone's.
  Status share_drawn(int32_t local, int32_t count);
  Status forward(int32_t local, const Batch& batch, const LogitsSink& sink);
  Status draft(int32_t local, const Batch& batch, std::span<const int32_t> from,
               const LogitsSink& sink);
  // The end of a step, on the thread of that rank; at most two are not reached.
  void mark(int32_t local);
  // Waits for the mark made first of those. By one thread at a time, while no other one says
  // anything on this rank but assist().
  Status reach(int32_t local);
  // On all ranks. The first error.
  Status reach();
  // On that rank's thread, in the middle of a step: until all that was said is done. What then
  // waits for this rank's device waits for no peer, and so within the group's patience.
  Status settle(int32_t local);
  // Where experts are shared, on the rank's thread when it has no pass left in this round: assists
  // in those of the others until nobody has one.
  Status assist();
  // Lets nobody wait for this process's ranks any more.
  void give_up();

 private:
  struct Rank {
    std::unique_ptr<Device> device;
    std::unique_ptr<Buffer<TokenId>> drawn;
    std::array<std::unique_ptr<Download>, 2> marks;
    uint64_t marked = 0, reached = 0;
    std::unique_ptr<Download> halfway;      // a mark within a step
    int32_t gpu = -1;                       // -1: the host
    int32_t pool = 0;                       // where its KV is
    std::unique_ptr<PlacedWeights> placed;  // what weights view, on a GPU
    std::unique_ptr<WeightReader> reader;
    ModelWeights weights;
    std::unique_ptr<Lanes> lanes;
    std::unique_ptr<Scratch> scratch;
    std::unique_ptr<Comm> comm;
    std::unique_ptr<Collectives> collectives;  // of a group on GPUs
    std::unique_ptr<ModelRank> forward;
  };

  ModelRanks() = default;
  Status make_devices(const TpEngineConfig& config);
  static void furnish(Rank& rank);
  Status read_weights(const TpEngineConfig& config, const LoadProgress& progress);
  Status place_on_devices(const LoadProgress& progress);
  Status connect_devices();
  Status join_nccl(int32_t local);
  Status said(int32_t local, Status status);
  int64_t kv_bytes(const TpEngineConfig& config, int32_t pool) const;
  void divide_kv_pools();
  Shard shard_of(int32_t local) const;

  ModelConfig model_;
  std::string digest_;
  Compute compute_ = Compute::float32;
  KvLayout layout_;
  Prefaulted loaded_;
  LayerTap layer_tap_;
  const Ops* ops_ = nullptr;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<Rank> ranks_;
  bool own_kv_ = false;                // ranks write all the KV that they read
  int32_t first_rank_ = 0, size_ = 1;  // of the group
  std::vector<int32_t> gpus_;          // that the ranks use, each once; empty: the host
  Duration patience_{};                // with other ranks' GPUs
  ExpertPlace experts_;
  std::unique_ptr<DividedPool> kv_;           // a pool a GPU; destroyed before the devices
  std::unique_ptr<ExpertExchange> exchange_;  // null: experts are this group's own
  std::unique_ptr<BreakableBarrier> barrier_;
  std::unique_ptr<RankThreads> threads_;
};

// The engine over ranks that have started; tp_engine.cpp.
std::unique_ptr<Engine> engine_of(const TpEngineConfig& config, std::unique_ptr<ModelRanks> ranks,
                                  int32_t blocks);

// One connection for each rank of this process, to all ranks of the group.
Result<std::vector<std::unique_ptr<Comm>>> connect_group(const TpEngineConfig& config,
                                                         const std::string& digest);

}  // namespace fathom
