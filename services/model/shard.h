// Which part of each weight belongs to a rank? One table: a pattern of tensor names -> how the
// tensor is split over a tensor-parallel group. Rows and columns are cut into equal runs, so a
// head, an expert or a slice of the vocabulary never straddles two ranks; `check_shardable` refuses
// sizes for which that can not be.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "kernels/kv_heads.h"
#include "model/config.h"

namespace fathom {

enum class Split : uint8_t {
  replicate,  // every rank reads all of it
  rows,       // outputs are divided: heads, intermediate channels, vocabulary
  columns,    // inputs are divided; the ranks' results are summed
  experts,    // whole tensors, by expert number
  // Outputs are divided over the ranks of a process; every process has all. Keys and values: what
  // each process keeps is complete, whatever the size of the group (kv_heads_of).
  process_rows,
};

struct ShardRule {
  std::string_view pattern;  // '*' stands for a number
  Split split;
};

std::span<const ShardRule> shard_table();

// The rule of a tensor; nullptr when the table has none.
const ShardRule* find_shard_rule(std::string_view tensor);

// A rank's place in its group, and among the ranks of its process. In the other layout every rank
// is a group of its own and holds all weights but the experts, which are divided by number over
// `expert_size` such groups.
struct Shard {
  int32_t rank = 0;
  int32_t size = 1;
  int32_t local_rank = 0;
  int32_t local_size = 1;
  int32_t expert_rank = 0;
  int32_t expert_size = 1;
  // Whether its KV lies where other ranks do not write for it: it computes all heads that it reads.
  bool own_kv = false;
  int32_t part(int32_t whole) const { return whole / size; }
  int32_t begin(int32_t whole) const { return part(whole) * rank; }
  int32_t expert_part(int32_t experts) const { return experts / (size * expert_size); }
  int32_t first_expert(int32_t experts) const {
    return expert_part(experts) * (rank * expert_size + expert_rank);
  }
  // Runs that need not be equal, and may be empty, of what a process divides.
  int32_t local_begin(int32_t whole) const { return whole * local_rank / local_size; }
  int32_t local_part(int32_t whole) const {
    return whole * (local_rank + 1) / local_size - local_begin(whole);
  }
};

// The key-value heads that a rank computes and stores. The ranks of a process have all of them
// together. With own_kv they include those that its query heads read, and all ranks of the group
// have equally many: products of one shape, so a head has the same bits whichever rank made it.
KvHeads kv_heads_of(const Shard& shard, int32_t heads, int32_t kv_heads);

// INVALID_ARGUMENT naming the config key and the numbers when the model can not be divided by
// `size`.
Status check_shardable(const ModelConfig& config, int32_t size);

// The same for experts divided over `ranks` engines, naming expert_parallel.
Status check_experts_divide(const ModelConfig& config, int32_t ranks);

}  // namespace fathom
