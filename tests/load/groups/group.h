// Which groups of real engines are loaded, and what do they compare with? A tiny checkpoint on host
// devices, its ranks threads or processes that sum, or engines that divide the experts. Beside each
// stands the one that tells what is right: the same bits, computed one step at a time.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace fathom::load {

struct GroupKind {
  const char* name;
  const char* model;  // of tests/golden/data
  int32_t tensor_parallel = 1;
  int32_t expert_parallel = 1;
  bool own_pools = false;  // a KV pool for each rank, as on GPUs
  bool processes = false;  // of one rank each, which speak through sockets
  int32_t drafts = 0;      // that its model's module may guess
};

inline constexpr int32_t kBlockTokens = 8;
inline constexpr int32_t kBlocksMax = 64;

inline constexpr GroupKind kGroups[] = {
    {.name = "tensor parallel 2", .model = "v3-tiny-bf16", .tensor_parallel = 2},
    {.name = "expert parallel 2", .model = "v3-tiny-bf16", .expert_parallel = 2},
    {.name = "tensor parallel 2 with drafts",
     .model = "v3-tiny-mtp",
     .tensor_parallel = 2,
     .drafts = 3},
    {.name = "expert parallel 2 with drafts",
     .model = "v3-tiny-mtp",
     .expert_parallel = 2,
     .drafts = 3},
    {.name = "tensor parallel 2 in pools of their own",
     .model = "llama-tiny",
     .tensor_parallel = 2,
     .own_pools = true},
    {.name = "tensor parallel 2 in processes",
     .model = "v3-tiny-bf16",
     .tensor_parallel = 2,
     .processes = true}};

class Group {
 public:
  explicit Group(const GroupKind& kind);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  const GroupKind& kind() const { return kind_; }
  // One, or as many as share the experts.
  const std::vector<std::unique_ptr<Engine>>& engines() const { return engines_; }
  // One rank that has everything.
  Engine& one_rank() { return *one_rank_; }
  // One that promises the same bits: sums over ranks round as they do in the group, divided experts
  // give those of one rank.
  Engine& same_bits() { return same_sums_ ? *same_sums_ : *one_rank_; }

 private:
  GroupKind kind_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::unique_ptr<Engine> one_rank_, same_sums_;
  std::thread follower_;
};

}  // namespace fathom::load
