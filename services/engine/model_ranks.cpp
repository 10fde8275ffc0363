#include "engine/model_ranks.h"

#include <algorithm>
#include <mutex>
#include <ranges>

#include "kernels/cpu/batch_sampler.h"
#include "kernels/cpu/host_device.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"
#include "model/digest.h"
#include "model/place_weights.h"
#include "model/quantisable.h"

namespace fathom {
namespace {

Status check_settings(const TpEngineConfig& c) {
  const auto positive = [](int64_t value, const char* name) -> Status {
    if (value < 1) return invalid("must be at least 1, is " + std::to_string(value), name);
    return {};
  };
  FATHOM_CHECKED(positive(c.tensor_parallel, "tensor_parallel"));
  FATHOM_CHECKED(positive(c.threads_per_rank, "threads_per_rank"));
  FATHOM_CHECKED(positive(c.block_tokens, "block_tokens"));
  if (c.speculative_tokens < 0) return invalid("must not be negative", "speculative_tokens");
  FATHOM_CHECKED(positive(c.group.processes, "group.processes"));
  if (c.tensor_parallel % c.group.processes != 0)
    return invalid("tensor_parallel " + std::to_string(c.tensor_parallel) + " is not divided by " +
                       std::to_string(c.group.processes) + " processes",
                   "group.processes");
  if (c.group.process < 0 || c.group.process >= c.group.processes)
    return invalid("is " + std::to_string(c.group.process) + ", outside 0 to " +
                       std::to_string(c.group.processes - 1),
                   "group.process");
  return {};
}

Result<const Ops*> choose_kernels(const TpEngineConfig& config) {
  const std::string& name = config.kernels;
  if (config.device.cuda) {
    if (cuda_device_count() == 0) return Error{Code::failed_precondition, cuda_absence(), "device"};
    return cuda_ops();
  }
  if (name.empty()) return &cpu_ops();
  const Ops* ops = cpu_ops_named(name);
  if (ops == nullptr)
    return invalid("\"" + name + "\" is not available on this machine", "kernels");
  return ops;
}

DType kv_dtype_of(const TpEngineConfig& config) {
  return config.kv_dtype.value_or(config.compute == Compute::float32 ? DType::f32 : DType::bf16);
}

Result<KvLayout> layout_for(const ModelConfig& model, const TpEngineConfig& config) {
  const DType dtype = kv_dtype_of(config);
  if (dtype == DType::i8 && model.attention == AttentionKind::gqa)
    return invalid(
        "int8 is for latent attention; this model's keys and values are float32 or bfloat16",
        "kv_dtype");
  if (dtype == DType::i8)
    return int8_mla_layout(model.cached_layers(), model.kv_rank, model.rope, config.block_tokens);
  if (model.attention == AttentionKind::gqa)
    return gqa_layout(dtype, model.layers, model.kv_heads, model.head_dim, config.block_tokens);
  return mla_layout(dtype, model.cached_layers(), model.latent_width(), config.block_tokens);
}

}  // namespace

Result<std::unique_ptr<ModelRanks>> ModelRanks::load(const TpEngineConfig& config,
                                                     const LoadProgress& progress) {
  FATHOM_CHECKED(check_settings(config));
  std::unique_ptr<ModelRanks> out(new ModelRanks());
  FATHOM_TRY(out->ops_, choose_kernels(config));
  const std::string file = config.model_dir + "/config.json";
  FATHOM_TRY(const std::string text, read_text_file(file));
  FATHOM_TRY(out->model_, parse_model_config(text, file));
  if (config.speculative_tokens == 0) out->model_.draft_layers = 0;
  if (config.speculative_tokens > 0 && out->model_.draft_layers == 0)
    return Error{
        Code::failed_precondition,
        "there is no multi-token-prediction module to draft with: num_nextn_predict_layers "
        "is 0 or missing in " +
            file,
        "speculative"};
  FATHOM_CHECKED(check_shardable(out->model_, config.tensor_parallel));
  FATHOM_TRY(Checkpoint checkpoint, Checkpoint::open(config.model_dir));
  out->checkpoint_ = std::make_unique<Checkpoint>(std::move(checkpoint));
  out->compute_ = config.compute;
  out->layer_tap_ = config.layer_tap;
  FATHOM_TRY(out->layout_, layout_for(out->model_, config));
  FATHOM_CHECKED(out->make_devices(config));
  out->divide_kv_pools();
  FATHOM_CHECKED(out->read_weights(config, progress));
  // Samples every tensor; what is in memory by now costs nothing.
  out->digest_ = model_digest(text, *out->checkpoint_);
  return out;
}

// Memory is given back when its device is done, which may wait for a peer that will never come.
ModelRanks::~ModelRanks() {
  for (Rank& rank : ranks_) rank.collectives.reset();
  if (exchange_) exchange_->leave();
}

// Ranks beyond the last GPU share the first ones again: on one GPU all of them are on it, which is
// good for tests.
Status ModelRanks::make_devices(const TpEngineConfig& config) {
  const int32_t local = config.tensor_parallel / config.group.processes;
  ranks_.resize(static_cast<size_t>(local));
  own_kv_ = config.device.cuda || config.device.own_pools;
  first_rank_ = config.group.process * local;
  patience_ = config.group.patience;
  experts_ = config.experts;
  size_ = config.tensor_parallel;
  const int32_t gpus = config.device.cuda ? cuda_device_count() : 0;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    if (!config.device.cuda) {
      rank.device = make_host_device();
      if (config.device.own_pools) rank.pool = static_cast<int32_t>(i);
      furnish(rank);
      continue;
    }
    if (config.device.gpu < 0 || config.device.gpu >= gpus)
      return invalid(
          "there is no GPU " + std::to_string(config.device.gpu) + ", only " + std::to_string(gpus),
          "gpu");
    rank.gpu = (config.device.gpu + static_cast<int32_t>(i)) % gpus;
    FATHOM_TRY(rank.device, make_cuda_device({.index = rank.gpu}));
    furnish(rank);
    const auto known = std::ranges::find(gpus_, rank.gpu);
    rank.pool = static_cast<int32_t>(known - gpus_.begin());
    if (known == gpus_.end()) gpus_.push_back(rank.gpu);
  }
  return {};
}

void ModelRanks::furnish(Rank& rank) {
  rank.drawn = std::make_unique<Buffer<TokenId>>(*rank.device);
  for (auto& mark : rank.marks) mark = rank.device->make_download();
  rank.halfway = rank.device->make_download();
}

Shard ModelRanks::shard_of(int32_t local) const {
  return {.rank = first_rank_ + local,
          .size = size_,
          .local_rank = local,
          .local_size = static_cast<int32_t>(ranks_.size()),
          .expert_rank = experts_.rank,
          .expert_size = experts_.ranks,
          .own_kv = own_kv_};
}

void ModelRanks::divide_kv_pools() {
  // Every pool has whole latents: one head to all of them.
  const bool grouped = model_.attention == AttentionKind::gqa;
  const int32_t heads = grouped ? model_.kv_heads : 1;
  std::vector<RankKv> kept;
  for (int32_t i = 0; i < static_cast<int32_t>(ranks_.size()); ++i)
    kept.push_back({ranks_[static_cast<size_t>(i)].pool,
                    grouped ? kv_heads_of(shard_of(i), model_.heads, heads) : KvHeads{0, 1}});
  kv_ = std::make_unique<DividedPool>(layout_, heads, divide_kv(kept, heads));
}

Status ModelRanks::read_weights(const TpEngineConfig& config, const LoadProgress& progress) {
  const auto local = static_cast<int32_t>(ranks_.size());
  threads_ = std::make_unique<RankThreads>(local);
  barrier_ = std::make_unique<BreakableBarrier>(local);
  // Where the weights lie is known from the headers; read first, they come in the order of the
  // file.
  std::vector<std::span<const std::byte>> extents;
  for (int32_t i = 0; i < local; ++i) {
    WeightReader lister = WeightReader::lister(*checkpoint_, shard_of(i));
    FATHOM_TRY(const ModelWeights listed, read_model_weights(model_, shard_of(i), lister));
    if (config.compute == Compute::fp8) FATHOM_CHECKED(check_quantisable(listed));
    const auto mine = lister.extents();
    extents.insert(extents.end(), mine.begin(), mine.end());
  }
  FATHOM_TRY(loaded_, prefault(*checkpoint_, extents, {.huge_pages = config.huge_pages}, progress));
  for (int32_t i = 0; i < local; ++i) {
    Rank& rank = ranks_[static_cast<size_t>(i)];
    rank.reader = std::make_unique<WeightReader>(*checkpoint_, shard_of(i));
    FATHOM_TRY(rank.weights, read_model_weights(model_, shard_of(i), *rank.reader));
    rank.lanes = make_lanes(config.threads_per_rank);
    rank.scratch = make_scratch(*rank.device);
  }
  return config.device.cuda ? place_on_devices(progress) : Status();
}

Status ModelRanks::place_on_devices(const LoadProgress& progress) {
  uint64_t total = 0, before = 0;
  for (const Rank& rank : ranks_) total += rank.reader->bytes();
  for (Rank& rank : ranks_) {
    rank.placed = std::make_unique<PlacedWeights>(*rank.device);
    FATHOM_TRY(rank.weights, place_weights(rank.weights, *rank.placed, [&](uint64_t bytes) {
                 if (progress) progress(std::min(before + bytes, total), total);
               }));
    FATHOM_CHECKED(rank.device->wait());
    before += rank.placed->bytes();
  }
  return {};
}

// Bytes for the KV of one pool. On a GPU it takes what weights and activations leave of this
// process's share. A step of 4,096 prompt tokens of V3 on one GPU needs 6 GB of activations, logits
// and workspace; a sixteenth of an H200 is 9 GB.
int64_t ModelRanks::kv_bytes(const TpEngineConfig& config, int32_t pool) const {
  constexpr int64_t kActivationShare = 16;
  if (config.kv_bytes > 0) return config.kv_bytes;
  if (!config.device.cuda) return int64_t{1} << 30;
  int64_t weights = 0, total = 0, free = 0;
  for (const Rank& rank : ranks_) {
    if (rank.pool != pool) continue;
    weights += static_cast<int64_t>(rank.placed->bytes());
    total = rank.device->total_bytes();
    free = rank.device->free_bytes();
  }
  const auto share =
      static_cast<int64_t>(config.device.memory_share * static_cast<double>(total)) - weights;
  return std::min(share, free) - total / kActivationShare;
}

Result<int32_t> ModelRanks::count_blocks(const TpEngineConfig& config) const {
  int64_t n = config.kv_blocks;
  if (n == 0) {
    n = INT64_MAX;
    for (int32_t pool = 0; pool < kv_->pools(); ++pool)
      n = std::min(n, kv_bytes(config, pool) / kv_->stride(pool));
  }
  if (n < 1 || n > INT32_MAX)
    return invalid("leaves room for " + std::to_string(n) + " blocks of " +
                       std::to_string(layout_.block_bytes) + " bytes",
                   "kv_bytes");
  return static_cast<int32_t>(n);
}

Status ModelRanks::read_block(BlockIndex block, std::span<std::byte> out) const {
  return kv_->read(block, out);
}

Status ModelRanks::write_block(BlockIndex block, std::span<const std::byte> in) {
  return kv_->write(block, in);
}

std::unique_ptr<BatchSampler> ModelRanks::make_sampler() {
  Device& first = *ranks_.front().device;
  return first.is_host() ? make_host_sampler() : make_cuda_sampler(first);
}

void ModelRanks::attach(std::vector<std::unique_ptr<Comm>> comms) {
  CHECK(comms.size() == ranks_.size());
  for (size_t i = 0; i < ranks_.size(); ++i) ranks_[i].comm = std::move(comms[i]);
}

// Threads of one process read each other's GPUs; processes meet through NCCL.
Status ModelRanks::connect_devices() {
  const auto all = static_cast<size_t>(ranks_.front().comm->size());
  if (gpus_.empty() || all == 1) return {};
  if (all == ranks_.size()) {
    std::vector<Device*> devices;
    for (const Rank& rank : ranks_) devices.push_back(rank.device.get());
    FATHOM_TRY(auto peers, make_peer_collectives(devices, patience_));
    for (size_t i = 0; i < all; ++i) ranks_[i].collectives = std::move(peers[i]);
    return {};
  }
  Status result;
  std::mutex mutex;
  threads_->run([&](int32_t local) {
    const Status joined = join_nccl(local);
    const std::scoped_lock lock(mutex);
    if (!joined.ok() && result.ok()) result = joined;
  });
  return result;
}

// Rank 0 names the group; the name travels like every other message between the processes.
Status ModelRanks::join_nccl(int32_t local) {
  Rank& rank = ranks_[static_cast<size_t>(local)];
  struct {
    NcclId id = {};
    uint8_t made = 0;
  } named;
  if (rank.comm->rank() == 0) {
    if (auto id = make_nccl_id(); id.ok()) {
      named.id = *id;
      named.made = 1;
    }
  }
  FATHOM_CHECKED(rank.comm->broadcast(std::as_writable_bytes(std::span(&named, 1)), 0));
  if (named.made == 0)
    return Error{Code::failed_precondition,
                 "the group's first process can not load libnccl.so.2, which ranks of several "
                 "processes on GPUs need",
                 "device"};
  FATHOM_TRY(rank.collectives, make_nccl_collectives(*rank.device, {.id = named.id,
                                                                    .rank = rank.comm->rank(),
                                                                    .size = rank.comm->size(),
                                                                    .timeout = patience_}));
  return {};
}

Status ModelRanks::start(int32_t blocks) {
  FATHOM_CHECKED(connect_devices());
  std::vector<Device*> devices(static_cast<size_t>(kv_->pools()));
  for (const Rank& rank : std::views::reverse(ranks_))
    devices[static_cast<size_t>(rank.pool)] = rank.device.get();
  FATHOM_CHECKED(kv_->start(blocks, devices));
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    CHECK(rank.comm != nullptr);
    // Host threads share one pool: of latents the first rank writes all, of grouped heads each its
    // run, and the others wait for it. Ranks on GPUs each write what they read; those that share a
    // pool write the same bits to the same places.
    const bool alone = own_kv_ || ranks_.size() == 1;
    RankParts parts{.config = &model_,
                    .ops = ops_,
                    .context = {rank.lanes.get(), rank.scratch.get(), compute_, rank.device.get()},
                    .comm = rank.comm.get(),
                    .collectives = rank.collectives.get(),
                    .experts = exchange_.get(),
                    .barrier = alone ? nullptr : barrier_.get(),
                    .writes_cache = alone || i == 0,
                    .drawn = rank.drawn.get(),
                    .tap = layer_tap_};
    const KvPool& pool = kv_->pool(rank.pool);
    const KvHeads held = kv_->held(rank.pool);
    for (int32_t layer = 0; layer < model_.cached_layers(); ++layer) {
      if (model_.attention == AttentionKind::gqa) {
        parts.kv_caches.push_back(pool.kv_layer(layer, held.count, model_.head_dim));
      } else {
        parts.caches.push_back(pool.layer(layer, model_.kv_rank, model_.rope));
      }
    }
    parts.first_cached_head = held.first;
    rank.forward = make_model_rank(parts, rank.weights);
  }
  return {};
}

}  // namespace fathom
