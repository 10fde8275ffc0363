#include "engine/model_ranks.h"

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "model/digest.h"

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

Result<const Ops*> choose_kernels(const std::string& name) {
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

std::optional<DType> kv_dtype_named(std::string_view name) {
  if (name == "float32") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  if (name == "int8") return DType::i8;
  return std::nullopt;
}

Result<std::unique_ptr<ModelRanks>> ModelRanks::load(const TpEngineConfig& config,
                                                     const LoadProgress& progress) {
  FATHOM_CHECKED(check_settings(config));
  std::unique_ptr<ModelRanks> out(new ModelRanks());
  FATHOM_TRY(out->ops_, choose_kernels(config.kernels));
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
  FATHOM_CHECKED(out->read_weights(config, progress));
  // Samples every tensor; what is in memory by now costs nothing.
  out->digest_ = model_digest(text, *out->checkpoint_);
  return out;
}

Status ModelRanks::read_weights(const TpEngineConfig& config, const LoadProgress& progress) {
  const int32_t local = config.tensor_parallel / config.group.processes;
  ranks_.resize(static_cast<size_t>(local));
  threads_ = std::make_unique<RankThreads>(local);
  barrier_ = std::make_unique<BreakableBarrier>(local);
  const auto shard_of = [&](int32_t i) {
    return Shard{config.group.process * local + i, config.tensor_parallel, i, local};
  };
  // Where the weights lie is known from the headers; read first, they come in the order of the
  // file.
  std::vector<std::span<const std::byte>> extents;
  for (int32_t i = 0; i < local; ++i) {
    WeightReader lister = WeightReader::lister(*checkpoint_, shard_of(i));
    FATHOM_CHECKED(read_model_weights(model_, shard_of(i), lister));
    const auto mine = lister.extents();
    extents.insert(extents.end(), mine.begin(), mine.end());
  }
  FATHOM_TRY(loaded_, prefault(*checkpoint_, std::move(extents), {.huge_pages = config.huge_pages},
                               progress));
  for (int32_t i = 0; i < local; ++i) {
    Rank& rank = ranks_[static_cast<size_t>(i)];
    rank.reader = std::make_unique<WeightReader>(*checkpoint_, shard_of(i));
    FATHOM_TRY(rank.weights, read_model_weights(model_, shard_of(i), *rank.reader));
    rank.lanes = make_lanes(config.threads_per_rank);
    rank.scratch = make_scratch();
  }
  return {};
}

void ModelRanks::attach(std::vector<std::unique_ptr<Comm>> comms) {
  CHECK(comms.size() == ranks_.size());
  for (size_t i = 0; i < ranks_.size(); ++i) ranks_[i].comm = std::move(comms[i]);
}

Status ModelRanks::start(int32_t blocks) {
  FATHOM_TRY(KvPool pool, KvPool::make(layout_, blocks));
  pool_.emplace(std::move(pool));
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    CHECK(rank.comm != nullptr);
    RankParts parts{.config = &model_,
                    .ops = ops_,
                    .context = {rank.lanes.get(), rank.scratch.get(), compute_},
                    .comm = rank.comm.get(),
                    .barrier = ranks_.size() > 1 ? barrier_.get() : nullptr,
                    .writes_cache = i == 0,
                    .tap = layer_tap_};
    for (int32_t layer = 0; layer < model_.cached_layers(); ++layer) {
      if (model_.attention == AttentionKind::gqa) {
        parts.kv_caches.push_back(pool_->kv_layer(layer, model_.kv_heads, model_.head_dim));
      } else {
        parts.caches.push_back(pool_->layer(layer, model_.kv_rank, model_.rope));
      }
    }
    rank.forward = make_model_rank(std::move(parts), rank.weights);
  }
  return {};
}

Status ModelRanks::forward(int32_t local, const Batch& batch, const LogitsSink& sink) {
  Status status = ranks_[static_cast<size_t>(local)].forward->forward(batch, sink);
  if (!status.ok()) barrier_->give_up();
  return status;
}

Status ModelRanks::draft(int32_t local, const Batch& batch, std::span<const int32_t> from,
                         const LogitsSink& sink) {
  Status status = ranks_[static_cast<size_t>(local)].forward->draft(batch, from, sink);
  if (!status.ok()) barrier_->give_up();
  return status;
}

}  // namespace fathom
