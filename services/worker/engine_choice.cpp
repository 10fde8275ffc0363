#include "worker/engine_choice.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/expert_group.h"
#include "engine/fake_engine.h"
#include "engine/tp_engine.h"
#include "kernels/cuda/device.h"
#include "worker/speculation.h"

namespace fathom {
namespace {

Status one_of(const std::string& value, std::initializer_list<std::string_view> allowed,
              const std::string& name) {
  if (std::ranges::find(allowed, value) != allowed.end()) return {};
  std::string list;
  for (const std::string_view word : allowed)
    list += (list.empty() ? "" : ", ") + std::string(word);
  return invalid("'" + value + "' is not one of " + list, name);
}

Status at_least(int64_t value, int64_t least, const std::string& name) {
  if (value >= least) return {};
  return invalid(std::to_string(value) + " is too small: at least " + std::to_string(least), name);
}

Status check_group(const WorkerConfig& c) {
  FATHOM_CHECKED(at_least(c.group.processes, 1, "group.processes"));
  if (c.group.index < 0 || c.group.index >= c.group.processes)
    return invalid("must be 0 to group.processes - 1", "group.index");
  if (c.group.processes == 1) return {};
  if (c.group.leader.rfind(':') == std::string::npos)
    return invalid("a group of processes needs the host:port where it meets", "group.leader");
  if (c.engine == "fake") return invalid("the fake engine has one process", "group.processes");
  if (c.tensor_parallel % c.group.processes != 0)
    return invalid(std::to_string(c.tensor_parallel) + " ranks do not divide over " +
                       std::to_string(c.group.processes) + " processes",
                   "tensor_parallel");
  return {};
}

Status check_experts(const WorkerConfig& c) {
  FATHOM_CHECKED(at_least(c.expert_parallel, 1, "expert_parallel"));
  if (c.expert_parallel == 1) {
    if (!c.rank_listen.empty())
      return invalid("is for the ranks of expert_parallel, of which there is one", "rank_listen");
    return {};
  }
  if (c.engine == "fake") return invalid("the fake engine has no experts", "expert_parallel");
  if (c.tensor_parallel > 1)
    return invalid("ranks of expert_parallel are not divided further: must be 1",
                   "tensor_parallel");
  if (c.group.processes > 1)
    return invalid("the ranks of expert_parallel are threads of one process", "group.processes");
  const auto others = static_cast<size_t>(c.expert_parallel) - 1;
  if (!c.rank_listen.empty() && c.rank_listen.size() != others)
    return invalid("must name " + std::to_string(others) + " addresses or none, not " +
                       std::to_string(c.rank_listen.size()),
                   "rank_listen");
  const size_t colon = c.advertise.rfind(':');
  if (colon != std::string::npos && c.advertise.find(']', colon) == std::string::npos)
    return invalid("names a port, but each rank of expert_parallel has its own: name the host",
                   "advertise");
  return {};
}

Status check_engine(const WorkerConfig& c) {
  FATHOM_CHECKED(one_of(c.engine, {"model", "fake"}, "engine"));
  if (c.device == "cuda" && cuda_device_count() == 0)
    return Error{Code::failed_precondition, cuda_absence(), "device"};
  if (c.engine == "fake") {
    FATHOM_CHECKED(at_least(c.fake.context_max, 1, "fake.context_max"));
    FATHOM_CHECKED(at_least(c.fake.first_token, 0, "fake.first_token"));
    FATHOM_CHECKED(at_least(c.fake.damage_every, 0, "fake.damage_every"));
    if (!(c.fake.draft_acceptance >= 0 && c.fake.draft_acceptance <= 1))
      return invalid("must be 0 to 1", "fake.draft_acceptance");
    return at_least(c.fake.vocab, int64_t{c.fake.first_token} + 1, "fake.vocab");
  }
  if (c.model.empty()) return invalid("the directory of a checkpoint must be named", "model");
  std::error_code ignored;
  if (!std::filesystem::is_directory(c.model, ignored))
    return Error{Code::not_found, "no directory " + c.model, "model"};
  return {};
}

bool on_gpu(const WorkerConfig& c) {
  return c.device == "cuda" || (c.device == "auto" && cuda_device_count() > 0);
}

Compute compute_of(const WorkerConfig& c) {
  return compute_named(c.compute).value_or(on_gpu(c) ? Compute::bfloat16 : Compute::float32);
}

TpEngineConfig model_settings(const WorkerConfig& c) {
  const int32_t here = c.tensor_parallel * c.expert_parallel / c.group.processes;
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  const int32_t threads = c.threads > 0 ? c.threads : cores;
  return {.model_dir = c.model,
          .compute = compute_of(c),
          .kv_dtype = kv_dtype_named(c.kv_dtype),
          .tensor_parallel = c.tensor_parallel,
          .threads_per_rank = std::max(1, threads / here),
          .device = {.cuda = on_gpu(c), .gpu = c.gpu, .memory_share = c.gpu_memory_share},
          .block_tokens = c.block_tokens,
          .kv_blocks = c.kv_blocks,
          .kv_bytes = int64_t{c.kv_memory_mb} << 20,
          .context_max = c.context_max,
          .speculative_tokens = drafts_of(c),
          .huge_pages = c.huge_pages,
          .steps_ahead = c.steps_ahead == "auto" ? std::optional<bool>() : c.steps_ahead == "on",
          .group = {.processes = c.group.processes,
                    .process = c.group.index,
                    .leader = c.group.leader,
                    .connect_time_max = Duration::seconds(c.group_connect_seconds)}};
}

LoadProgress bytes_as_fraction(const LoadFraction& progress) {
  return [progress](uint64_t done, uint64_t total) {
    if (progress && total > 0) progress(static_cast<double>(done) / static_cast<double>(total));
  };
}

// Spends the time a fake step costs.
void pass_time(Duration time) {
  if (time.ns <= 0) return;
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, std::chrono::nanoseconds(time.ns), [] { return false; });
}

std::unique_ptr<Engine> fake_engine(const WorkerConfig& c) {
  FakeEngineConfig fake{.model = served_name(c),
                        .blocks = c.kv_blocks > 0 ? c.kv_blocks : 1024,
                        .block_tokens = c.block_tokens,
                        .context_max = c.fake.context_max,
                        .vocab = c.fake.vocab,
                        .first_token = c.fake.first_token,
                        .read_everything = c.fake.read_everything,
                        .drafts_max = drafts_of(c),
                        .draft_acceptance = c.fake.draft_acceptance,
                        .steps_ahead = c.steps_ahead == "on",
                        .step_base = Duration::seconds(c.fake.step_ms * 1e-3),
                        .step_per_token = Duration::seconds(c.fake.step_token_us * 1e-6)};
  if (fake.step_base.ns > 0 || fake.step_per_token.ns > 0) fake.wait = pass_time;
  return make_fake_engine(std::move(fake));
}

}  // namespace

Status check_worker_config(const WorkerConfig& c) {
  FATHOM_CHECKED(one_of(c.role, {"prefill", "decode", "both"}, "role"));
  FATHOM_CHECKED(one_of(c.device, {"cpu", "cuda", "auto"}, "device"));
  FATHOM_CHECKED(one_of(c.compute, {"float32", "bfloat16", "fp8", "auto"}, "compute"));
  FATHOM_CHECKED(one_of(c.speculative, {"off", "auto"}, "speculative"));
  FATHOM_CHECKED(one_of(c.steps_ahead, {"auto", "on", "off"}, "steps_ahead"));
  if (c.speculative_tokens < 1 || c.speculative_tokens > Speculation::kDraftsMax)
    return invalid("must be 1 to " + std::to_string(Speculation::kDraftsMax), "speculative_tokens");
  FATHOM_CHECKED(one_of(c.kv_dtype, {"auto", "float32", "bfloat16", "int8"}, "kv_dtype"));
  FATHOM_CHECKED(at_least(c.tensor_parallel, 1, "tensor_parallel"));
  FATHOM_CHECKED(at_least(c.threads, 0, "threads"));
  FATHOM_CHECKED(at_least(c.context_max, 0, "context_max"));
  FATHOM_CHECKED(at_least(c.block_tokens, 1, "block_tokens"));
  FATHOM_CHECKED(at_least(c.kv_blocks, 0, "kv_blocks"));
  FATHOM_CHECKED(at_least(c.kv_memory_mb, 0, "kv_memory_mb"));
  FATHOM_CHECKED(at_least(c.gpu, 0, "gpu"));
  if (!(c.gpu_memory_share > 0 && c.gpu_memory_share <= 1))
    return invalid("must be above 0 and at most 1", "gpu_memory_share");
  if (!(c.stall_seconds > 0 && c.stall_seconds <= 86400))
    return invalid("must be above 0 and at most 86400", "stall_seconds");
  FATHOM_CHECKED(at_least(c.rows_max, 1, "rows_max"));
  FATHOM_CHECKED(at_least(c.step_token_budget, 0, "step_token_budget"));
  FATHOM_CHECKED(at_least(c.prompt_token_budget, 0, "prompt_token_budget"));
  if (!(c.mixed_step_seconds >= 0 && c.mixed_step_seconds <= 86400))
    return invalid("must be at least 0 and at most 86400", "mixed_step_seconds");
  if (c.prompt_token_budget > 0 && c.expert_parallel > 1)
    return invalid("of ranks that step together each would wait for another's large chunk",
                   "prompt_token_budget");
  FATHOM_CHECKED(check_engine(c));
  FATHOM_CHECKED(check_experts(c));
  return check_group(c);
}

int32_t step_tokens_of(const WorkerConfig& config) {
  if (config.step_token_budget > 0) return config.step_token_budget;
  return config.engine == "model" && on_gpu(config) ? 4096 : 512;
}

int32_t drafts_of(const WorkerConfig& config) {
  return config.speculative == "auto" ? config.speculative_tokens : 0;
}

Role role_of(const WorkerConfig& config) {
  return config.role == "prefill"  ? Role::prefill
         : config.role == "decode" ? Role::decode
                                   : Role::both;
}

std::string served_name(const WorkerConfig& config) {
  if (!config.name.empty()) return config.name;
  if (config.engine == "fake") return "fake";
  const std::filesystem::path path = std::filesystem::path(config.model).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

bool follows(const WorkerConfig& config) {
  return config.group.processes > 1 && config.group.index > 0;
}

BlockFault chosen_fault(const WorkerConfig& config) {
  if (config.engine != "fake" || config.fake.damage_every == 0) return {};
  auto sent = std::make_shared<std::atomic<uint64_t>>(0);
  const auto every = static_cast<uint64_t>(config.fake.damage_every);
  return [sent, every](int32_t, std::span<std::byte> bytes) {
    if (++*sent % every == 0) bytes[bytes.size() / 2] ^= std::byte{1};
    return true;
  };
}

Result<std::unique_ptr<Engine>> load_engine(const WorkerConfig& config,
                                            const LoadFraction& progress) {
  if (config.engine == "fake") return fake_engine(config);
  return make_tp_engine(model_settings(config), bytes_as_fraction(progress));
}

Result<std::vector<std::unique_ptr<Engine>>> load_expert_engines(const WorkerConfig& config,
                                                                 const LoadFraction& progress) {
  return make_expert_group(model_settings(config), config.expert_parallel,
                           bytes_as_fraction(progress));
}

Status follow(const WorkerConfig& config, const LoadFraction& progress) {
  return run_follower(model_settings(config), bytes_as_fraction(progress));
}

}  // namespace fathom
