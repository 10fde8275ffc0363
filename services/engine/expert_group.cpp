#include "engine/expert_group.h"

#include "comm/solo.h"
#include "comm/threads.h"
#include "engine/model_ranks.h"
#include "engine/rounds.h"
#include "kernels/cuda/collectives.h"
#include "kernels/cuda/device.h"
#include "model/device_experts.h"
#include "model/host_experts.h"

namespace fathom {
namespace {

// A loop reports and plans within a fraction of this; a rank that has nothing to compute makes the
// others wait once.
constexpr Duration kPatience = Duration::ms(2);

class ExpertGroup final : private RoundWork {
 public:
  struct Rank {
    ModelRanks* ranks = nullptr;  // the engine's
    std::unique_ptr<Engine> engine;
  };
  explicit ExpertGroup(std::vector<Rank> ranks)
      : ranks_(std::move(ranks)), rounds_(static_cast<int32_t>(ranks_.size()), *this, kPatience) {}

  Engine& engine(int32_t rank) { return *ranks_[static_cast<size_t>(rank)].engine; }
  Rounds& rounds() { return rounds_; }

 private:
  Status begin(int32_t rank, const Plan& plan) override {
    const Status status = engine(rank).begin(plan);
    if (!status.ok()) ranks_[static_cast<size_t>(rank)].ranks->give_up();
    return status;
  }
  Status assist(int32_t rank) override {
    const Status status = ranks_[static_cast<size_t>(rank)].ranks->assist();
    if (!status.ok()) ranks_[static_cast<size_t>(rank)].ranks->give_up();
    return status;
  }

  std::vector<Rank> ranks_;
  Rounds rounds_;
};

class ExpertEngine final : public Engine {
 public:
  ExpertEngine(std::shared_ptr<ExpertGroup> group, int32_t rank)
      : group_(std::move(group)), rank_(rank), engine_(group_->engine(rank)) {}

  const EngineInfo& info() const override { return engine_.info(); }
  Status begin(const Plan& plan) override { return group_->rounds().begin(rank_, plan); }
  // Beside the round: what its rank still says there is for others.
  Result<StepResult> finish() override { return engine_.finish(); }
  Status export_block(BlockIndex block, std::span<std::byte> out) const override {
    return engine_.export_block(block, out);
  }
  Status import_block(BlockIndex block, std::span<const std::byte> in) override {
    return engine_.import_block(block, in);
  }

 private:
  std::shared_ptr<ExpertGroup> group_;
  int32_t rank_;
  Engine& engine_;
};

Status check(const TpEngineConfig& config, int32_t ranks) {
  if (config.tensor_parallel > 1)
    return invalid("is " + std::to_string(config.tensor_parallel) +
                       ", but expert_parallel divides experts over ranks that are whole otherwise",
                   "tensor_parallel");
  if (config.group.processes > 1)
    return invalid("the ranks of expert_parallel are threads of one process", "group.processes");
  FATHOM_TRY(const ModelConfig model, read_model_config(config.model_dir));
  return check_experts_divide(model, ranks);
}

TpEngineConfig config_of(const TpEngineConfig& all, int32_t ranks, int32_t rank) {
  TpEngineConfig out = all;
  out.experts.ranks = ranks;
  out.experts.rank = rank;
  if (all.experts.logits_tap)
    out.logits_tap = [tap = all.experts.logits_tap, rank](int32_t row, int32_t position,
                                                          std::span<const float> logits) {
      tap(rank, row, position, logits);
    };
  const int32_t gpus = all.device.cuda ? cuda_device_count() : 0;
  if (gpus == 0) return out;
  out.device.gpu = (all.device.gpu + rank) % gpus;
  const int32_t ranks_of_a_gpu = (ranks + gpus - 1) / gpus;  // at most
  out.device.memory_share /= ranks_of_a_gpu;
  return out;
}

// One after the other: what one rank reads from the disk the others find in memory.
Result<std::vector<std::unique_ptr<ModelRanks>>> load_all(const TpEngineConfig& config,
                                                          int32_t ranks,
                                                          const LoadProgress& progress) {
  std::vector<std::unique_ptr<ModelRanks>> out;
  for (int32_t rank = 0; rank < ranks; ++rank) {
    // The ranks' weights are of one size.
    const auto of_all = [&](uint64_t done, uint64_t total) {
      const auto before = static_cast<uint64_t>(rank);
      if (progress) progress(before * total + done, total * static_cast<uint64_t>(ranks));
    };
    FATHOM_TRY(auto loaded, ModelRanks::load(config_of(config, ranks, rank), of_all));
    out.push_back(std::move(loaded));
  }
  return out;
}

Result<std::vector<std::unique_ptr<ExpertExchange>>> connect(
    const std::vector<std::unique_ptr<ModelRanks>>& loaded, Duration patience) {
  const ModelConfig& model = loaded.front()->model();
  const auto ranks = static_cast<int32_t>(loaded.size());
  if (loaded.front()->device(0).is_host()) return make_host_experts(model, ranks);
  std::vector<Device*> devices;
  for (const auto& each : loaded) devices.push_back(&each->device(0));
  FATHOM_TRY(auto collectives, make_peer_collectives(devices, patience));
  auto comms = make_thread_group(ranks);
  std::vector<std::unique_ptr<ExpertExchange>> out;
  for (size_t i = 0; i < loaded.size(); ++i)
    out.push_back(
        make_device_experts(model, *devices[i], std::move(comms[i]), std::move(collectives[i])));
  return out;
}

}  // namespace

Result<std::vector<std::unique_ptr<Engine>>> make_expert_group(const TpEngineConfig& config,
                                                               int32_t ranks,
                                                               const LoadProgress& progress) {
  FATHOM_CHECKED(check(config, ranks));
  FATHOM_TRY(auto loaded, load_all(config, ranks, progress));
  FATHOM_TRY(auto exchanges, connect(loaded, config.group.patience));
  std::vector<ExpertGroup::Rank> members;
  for (int32_t rank = 0; rank < ranks; ++rank) {
    const auto at = static_cast<size_t>(rank);
    const TpEngineConfig mine = config_of(config, ranks, rank);
    std::vector<std::unique_ptr<Comm>> alone;
    alone.push_back(make_solo());
    loaded[at]->attach(std::move(alone));
    loaded[at]->share_experts(std::move(exchanges[at]));
    FATHOM_TRY(const int32_t blocks, loaded[at]->count_blocks(mine));
    FATHOM_CHECKED(loaded[at]->start(blocks));
    ModelRanks* const ranks_here = loaded[at].get();
    members.push_back({ranks_here, engine_of(mine, std::move(loaded[at]), blocks)});
  }
  const auto group = std::make_shared<ExpertGroup>(std::move(members));
  std::vector<std::unique_ptr<Engine>> out;
  for (int32_t rank = 0; rank < ranks; ++rank)
    out.push_back(std::make_unique<ExpertEngine>(group, rank));
  return out;
}

}  // namespace fathom
