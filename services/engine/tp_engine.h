// How is a real model run? One engine is one tensor-parallel group: ranks that are threads of this
// process, and of follower processes when the group is larger than a machine. The leader's step is
// broadcast to the followers; sampling happens on rank 0 alone. Results do not depend on how the
// group is made up beyond float32 rounding of the sums over ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/engine.h"
#include "kernels/ops.h"
#include "model/forward.h"
#include "model/prefault.h"
#include "model/weights.h"

namespace fathom {

// Where this process stands in its group. Every process holds the same number of ranks.
struct GroupPlace {
  int32_t processes = 1;
  int32_t process = 0;  // 0 leads
  std::string leader;   // host:port where the leader listens; unused in a group of one process
  std::function<void(int port)> listening;  // told the leader's port, for when `leader` says 0
  Duration connect_time_max = Duration::seconds(600);  // processes may load for minutes
  // Between GPUs: how long a collective waits for another rank before the group is broken.
  Duration patience = Duration::seconds(60);
};

// What the ranks of this process compute on.
struct DevicePlace {
  bool cuda = false;
  int32_t gpu = 0;  // of the first rank; rank i has the i-th after it, beginning again at the last
  // Of each GPU's memory, what this process may take for weights, activations and KV. KV takes what
  // the others leave, unless kv_blocks or kv_bytes says less.
  double memory_share = 0.92;
  // On the host: each rank keeps its KV in a pool of its own, as ranks on GPUs do, instead of in
  // one that all of them share.
  bool own_pools = false;
};

// Of engines that divide a model's experts, which one this is; see expert_group.h.
struct ExpertPlace {
  int32_t ranks = 1;
  int32_t rank = 0;
  // As logits_tap, for tests: called on the threads of all ranks.
  std::function<void(int32_t rank, int32_t row, int32_t position, std::span<const float> logits)>
      logits_tap;
};

struct TpEngineConfig {
  std::string model_dir;
  Compute compute = Compute::float32;
  // f32, bf16, or i8 for latent attention; none: the type of `compute`.
  std::optional<DType> kv_dtype;
  int32_t tensor_parallel = 1;
  int32_t threads_per_rank = 1;
  std::string kernels;  // "portable", "avx2", "avx512", "amx"; empty chooses the widest
  DevicePlace device;
  int32_t block_tokens = 64;
  int32_t kv_blocks = 0;    // 0: as many as fit into kv_bytes
  int64_t kv_bytes = 0;     // 0: 1 GiB, on GPUs what is left
  int32_t context_max = 0;  // 0: what the model was made for
  // Tokens the model's multi-token-prediction module may guess ahead; 0: it is not loaded. Equal in
  // all processes of a group, and zero or not on all workers of a cluster: its KV moves along.
  int32_t speculative_tokens = 0;
  int32_t expanded_prompt_min = 64;  // see model/batch.h; equal on all workers of a cluster
  bool huge_pages = true;            // see model/prefault.h
  // Whether a step may be begun while one is in flight (EngineInfo::steps_ahead); none: on a GPU,
  // which computes beside its host.
  std::optional<bool> steps_ahead;
  GroupPlace group;
  ExpertPlace experts;  // ranks and rank are set by make_expert_group
  // Sees every row of logits before it is sampled: row of the plan, position, logits. For tests;
  // called on the thread that steps.
  std::function<void(int32_t row, int32_t position, std::span<const float> logits)> logits_tap;
  LayerTap layer_tap;  // on rank 0's thread; see model/forward.h
};

// Of "float32", "bfloat16" and "int8"; none for "auto".
std::optional<DType> kv_dtype_named(std::string_view name);
// Of "float32", "bfloat16" and "fp8"; none for "auto".
std::optional<Compute> compute_named(std::string_view name);
std::string_view name_of(Compute compute);

// The engine of a process that leads its group (or is alone in it).
Result<std::unique_ptr<Engine>> make_tp_engine(const TpEngineConfig& config,
                                               const LoadProgress& progress = {});

// The life of a follower process: loads its ranks and serves the leader's steps. Returns ok when
// the leader leaves, UNAVAILABLE when it dies.
Status run_follower(const TpEngineConfig& config, const LoadProgress& progress = {});

}  // namespace fathom
