#include "model/shard.h"

#include <algorithm>
#include <array>
#include <string>

namespace fathom {
namespace {

constexpr std::array kTable = {
    ShardRule{"model.embed_tokens.weight", Split::replicate},
    ShardRule{"model.norm.weight", Split::replicate},
    ShardRule{"lm_head.weight", Split::rows},
    ShardRule{"model.layers.*.input_layernorm.weight", Split::replicate},
    ShardRule{"model.layers.*.post_attention_layernorm.weight", Split::replicate},
    ShardRule{"model.layers.*.self_attn.q_a_proj.weight", Split::replicate},
    ShardRule{"model.layers.*.self_attn.q_a_layernorm.weight", Split::replicate},
    ShardRule{"model.layers.*.self_attn.q_b_proj.weight", Split::rows},
    ShardRule{"model.layers.*.self_attn.q_proj.weight", Split::rows},
    ShardRule{"model.layers.*.self_attn.kv_a_proj_with_mqa.weight", Split::replicate},
    ShardRule{"model.layers.*.self_attn.kv_a_layernorm.weight", Split::replicate},
    ShardRule{"model.layers.*.self_attn.kv_b_proj.weight", Split::rows},
    ShardRule{"model.layers.*.self_attn.o_proj.weight", Split::columns},
    ShardRule{"model.layers.*.self_attn.q_proj.bias", Split::rows},
    ShardRule{"model.layers.*.self_attn.k_proj.weight", Split::process_rows},
    ShardRule{"model.layers.*.self_attn.k_proj.bias", Split::process_rows},
    ShardRule{"model.layers.*.self_attn.v_proj.weight", Split::process_rows},
    ShardRule{"model.layers.*.self_attn.v_proj.bias", Split::process_rows},
    ShardRule{"model.layers.*.self_attn.o_proj.bias", Split::replicate},
    ShardRule{"model.layers.*.self_attn.q_a_proj.bias", Split::replicate},
    ShardRule{"model.layers.*.self_attn.kv_a_proj_with_mqa.bias", Split::replicate},
    ShardRule{"model.layers.*.mlp.gate_proj.bias", Split::rows},
    ShardRule{"model.layers.*.mlp.up_proj.bias", Split::rows},
    ShardRule{"model.layers.*.mlp.down_proj.bias", Split::replicate},
    ShardRule{"model.layers.*.mlp.gate_proj.weight", Split::rows},
    ShardRule{"model.layers.*.mlp.up_proj.weight", Split::rows},
    ShardRule{"model.layers.*.mlp.down_proj.weight", Split::columns},
    ShardRule{"model.layers.*.mlp.gate.weight", Split::replicate},
    ShardRule{"model.layers.*.mlp.gate.e_score_correction_bias", Split::replicate},
    ShardRule{"model.layers.*.mlp.shared_experts.gate_proj.weight", Split::rows},
    ShardRule{"model.layers.*.mlp.shared_experts.up_proj.weight", Split::rows},
    ShardRule{"model.layers.*.mlp.shared_experts.down_proj.weight", Split::columns},
    ShardRule{"model.layers.*.mlp.experts.*.gate_proj.weight", Split::experts},
    ShardRule{"model.layers.*.mlp.experts.*.up_proj.weight", Split::experts},
    ShardRule{"model.layers.*.mlp.experts.*.down_proj.weight", Split::experts},
    ShardRule{"model.layers.*.enorm.weight", Split::replicate},
    ShardRule{"model.layers.*.hnorm.weight", Split::replicate},
    ShardRule{"model.layers.*.eh_proj.weight", Split::replicate},
    ShardRule{"model.layers.*.shared_head.norm.weight", Split::replicate},
};

bool digit(char c) { return c >= '0' && c <= '9'; }

bool matches(std::string_view pattern, std::string_view name) {
  size_t at = 0;
  for (const char p : pattern) {
    if (p != '*') {
      if (at == name.size() || name[at] != p) return false;
      ++at;
      continue;
    }
    const size_t start = at;
    while (at < name.size() && digit(name[at])) ++at;
    if (at == start) return false;
  }
  return at == name.size();
}

}  // namespace

std::span<const ShardRule> shard_table() { return kTable; }

const ShardRule* find_shard_rule(std::string_view tensor) {
  for (const auto& rule : kTable)
    if (matches(rule.pattern, tensor)) return &rule;
  return nullptr;
}

namespace {

// What the rank's query heads read and its share of the process's, with what lies between.
KvHeads own_kv_heads(const Shard& s, int32_t heads, int32_t kv_heads) {
  const int32_t group = heads / kv_heads;
  const int32_t first_read = s.begin(heads) / group;
  const int32_t reads_to = (s.begin(heads) + s.part(heads) + group - 1) / group;
  const int32_t begin = std::min(first_read, s.local_begin(kv_heads));
  return {begin, std::max(reads_to, s.local_begin(kv_heads) + s.local_part(kv_heads)) - begin};
}

}  // namespace

KvHeads kv_heads_of(const Shard& shard, int32_t heads, int32_t kv_heads) {
  if (!shard.own_kv) return {shard.local_begin(kv_heads), shard.local_part(kv_heads)};
  int32_t most = 0;
  for (int32_t r = 0; r < shard.size; ++r) {
    Shard other = shard;
    other.rank = r;
    other.local_rank = r % shard.local_size;
    most = std::max(most, own_kv_heads(other, heads, kv_heads).count);
  }
  return {std::min(own_kv_heads(shard, heads, kv_heads).first, kv_heads - most), most};
}

Status check_shardable(const ModelConfig& c, int32_t size) {
  if (size < 1) return invalid("must be at least 1, is " + std::to_string(size), "tensor_parallel");
  struct Dimension {
    const char* key;
    int32_t value;
  };
  const std::array dimensions = {
      Dimension{"num_attention_heads", c.heads},
      Dimension{"vocab_size", c.vocab},
      Dimension{"intermediate_size", c.intermediate},
      Dimension{"n_routed_experts", c.experts},
      Dimension{"moe_intermediate_size * n_shared_experts", c.shared_intermediate()},
  };
  for (const auto& d : dimensions)
    if (d.value % size != 0)
      return invalid(std::string(d.key) + " is " + std::to_string(d.value) +
                         ", which tensor_parallel " + std::to_string(size) + " does not divide",
                     "tensor_parallel");
  return {};
}

Status check_experts_divide(const ModelConfig& c, int32_t ranks) {
  if (ranks < 1)
    return invalid("must be at least 1, is " + std::to_string(ranks), "expert_parallel");
  if (ranks == 1) return {};
  if (c.experts == 0)
    return invalid("a model of type " + c.model_type + " has no experts to divide",
                   "expert_parallel");
  if (c.experts % ranks != 0)
    return invalid("n_routed_experts is " + std::to_string(c.experts) + ", which expert_parallel " +
                       std::to_string(ranks) + " does not divide",
                   "expert_parallel");
  return {};
}

}  // namespace fathom
