// What can be set about a worker? One model (or the fake engine), its role, its memory and its
// three addresses. Everything but the model has a default that suits one machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom {

// A group over several processes. Each of them is started with the same settings but `index`.
struct WorkerGroupConfig {
  int32_t processes = 1;
  int32_t index = 0;   // 0 leads: it alone talks to the router and to peers
  std::string leader;  // host:port where the leader's collectives listen

  template <class V>
  void fields(V& v) {
    v("processes", processes, "processes of this tensor-parallel group");
    v("index", index, "which of them this is; 0 leads");
    v("leader", leader, "host:port where the group meets; used with more than one process");
  }
};

// The engine without a model: tokens are a hash of everything before them.
struct FakeEngineSettings {
  int32_t context_max = 4096;
  int32_t vocab = 512;
  int32_t first_token = 2;
  bool read_everything = true;
  double draft_acceptance = 0.7;
  double step_ms = 0;        // a step costs this,
  double step_token_us = 0;  // and this for each of its tokens
  int32_t damage_every = 0;  // of the blocks it sends, each so manieth is damaged; 0: none

  template <class V>
  void fields(V& v) {
    v("context_max", context_max, "positions a sequence may reach");
    v("vocab", vocab, "size of the vocabulary");
    v("first_token", first_token, "smaller ids are never drawn");
    v("read_everything", read_everything, "every step checks the whole context, not only its end");
    v("draft_acceptance", draft_acceptance, "how often a guessed token is right, 0 to 1");
    v("step_ms", step_ms, "what a step costs");
    v("step_token_us", step_token_us, "what each token of a step costs beside");
    v("damage_every", damage_every,
      "each so manieth block sent is damaged, to test recovery; 0 for none");
  }
};

struct WorkerConfig {
  std::string model;  // checkpoint directory
  std::string name;   // empty: the directory's name
  std::string role = "both";
  std::string listen = "127.0.0.1:7100";
  std::string advertise;
  std::string operations_listen = "127.0.0.1:7101";
  std::string device = "auto";
  std::string compute = "auto";
  std::string kv_dtype = "auto";
  std::string engine = "model";
  std::string speculative = "off";
  int32_t speculative_tokens = 3;  // a bound: how many pay is measured, see worker/speculation.h
  std::string steps_ahead = "auto";
  int32_t tensor_parallel = 1;
  int32_t expert_parallel = 1;
  std::vector<std::string> rank_listen;
  int32_t threads = 0;
  int32_t context_max = 0;
  int32_t block_tokens = 64;
  int32_t kv_blocks = 0;
  int32_t kv_memory_mb = 0;
  int32_t gpu = 0;
  double gpu_memory_share = 0.92;
  bool huge_pages = true;
  int32_t rows_max = 256;
  int32_t step_token_budget = 0;
  int32_t prompt_token_budget = 0;
  double mixed_step_seconds = 1;
  bool prefix_cache = true;
  double ticket_patience_seconds = 10;
  // The sender may first compute other prompts for minutes; a lost one is noticed by its
  // connection.
  double fetch_patience_seconds = 600;
  double stall_seconds = 30;
  double group_connect_seconds = 600;
  WorkerGroupConfig group;
  FakeEngineSettings fake;

  template <class V>
  void fields(V& v) {
    v("model", model, "directory of the checkpoint: config.json and *.safetensors");
    v("name", name, "served model name; empty for the directory's");
    v("role", role, "prefill, decode or both");
    v("listen", listen, "host:port for the router and for peers; port 0 takes a free one");
    v("advertise", advertise,
      "host or host:port under which peers reach `listen`; empty for listen itself");
    v("operations_listen", operations_listen, "host:port of /metrics and /health; empty for none");
    v("device", device, "cpu, cuda or auto: cuda where this process sees a GPU it can use");
    v("gpu", gpu, "the first GPU of this process; each rank has one of its own while there are");
    v("gpu_memory_share", gpu_memory_share,
      "of a GPU's memory, what weights, activations and KV may take; KV takes what the others "
      "leave");
    v("compute", compute,
      "float32, bfloat16, fp8 (quantises activations; FP8 checkpoints only) or auto: bfloat16 on a "
      "GPU, otherwise float32");
    v("kv_dtype", kv_dtype,
      "float32, bfloat16, int8 (latent attention only) or auto: the type of compute; equal on all "
      "workers of a router");
    v("engine", engine, "model, or fake: no model, for tests of the services around it");
    v("speculative", speculative,
      "off, or auto: the model's multi-token-prediction module guesses ahead where that is faster; "
      "equal on all workers of a router");
    v("speculative_tokens", speculative_tokens, "most tokens it guesses ahead, 1 to 3");
    v("steps_ahead", steps_ahead,
      "on, off or auto: whether a step of decoding rows begins before the tokens of the last one "
      "are read; auto where that pays, on GPUs");
    v("tensor_parallel", tensor_parallel, "ranks of the whole group");
    v("expert_parallel", expert_parallel,
      "ranks of this process that divide the experts alone: each is a worker with sequences, KV "
      "and "
      "an address of its own");
    v("rank_listen", rank_listen,
      "of expert_parallel: host:port of each rank but the first, which has `listen`; empty for the "
      "ports after that one");
    v("threads", threads, "computing threads of this process; 0 for one per core");
    v("context_max", context_max, "positions a sequence may reach; 0 for the model's own limit");
    v("block_tokens", block_tokens, "positions of one KV block; equal on all workers of a router");
    v("kv_blocks", kv_blocks, "KV blocks; 0 for as many as kv_memory_mb holds");
    v("kv_memory_mb", kv_memory_mb,
      "memory for KV blocks where kv_blocks is 0; 0 for 1024, on a GPU for what is left");
    v("huge_pages", huge_pages,
      "map weights by pages of 2 MB where the system can, reading the checkpoint anew if need be");
    v("rows_max", rows_max, "sequences held at once");
    v("step_token_budget", step_token_budget,
      "most tokens of one step where the router names none; 0 for 512, on a GPU 4096");
    v("prompt_token_budget", prompt_token_budget,
      "most tokens of a step of a prompt that nobody waits beside, where that is more than "
      "step_token_budget; the memory for activations grows with it; 0 for step_token_budget");
    v("mixed_step_seconds", mixed_step_seconds,
      "what a step should last that computes prompts beside streams that decode: it takes fewer "
      "tokens of prompts where they are slow; 0 for step_token_budget alone");
    v("prefix_cache", prefix_cache,
      "prompts that begin alike are computed once while their KV blocks are not needed otherwise");
    v("ticket_patience_seconds", ticket_patience_seconds,
      "how long a peer's fetch waits for its sequence here");
    v("fetch_patience_seconds", fetch_patience_seconds,
      "how long our fetch waits without progress");
    v("stall_seconds", stall_seconds,
      "a step that has not returned for so long is logged, the worker is not ready and takes no "
      "router until it does");
    v("group_connect_seconds", group_connect_seconds,
      "how long processes of a group wait for each other");
    v("group", group, "a tensor-parallel group over several processes");
    v("fake", fake, "settings of the fake engine");
  }
};

}  // namespace fathom
