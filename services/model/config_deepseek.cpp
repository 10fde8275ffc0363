// What does the config of DeepSeek V2 or V3 say? Latent attention, experts in groups, and how they
// are chosen.
#include <algorithm>

#include "model/config_keys.h"

namespace fathom {
namespace {

void read_attention(Keys& keys, ModelConfig& c) {
  c.heads = keys.size("num_attention_heads", 1, 1 << 16);
  c.q_rank = keys.size_or("q_lora_rank", 0);
  c.kv_rank = keys.size("kv_lora_rank", 1, 1 << 16);
  c.nope = keys.size("qk_nope_head_dim", 1, 1 << 14);
  c.rope = keys.size("qk_rope_head_dim", 2, 1 << 14);
  c.value = keys.size("v_head_dim", 1, 1 << 14);
  if (c.rope % 2 != 0) keys.fail("qk_rope_head_dim", "must be even");
  c.qkv_bias = c.output_bias = keys.flag_or("attention_bias", false);
  if (!keys.flag_or("rope_interleave", true))
    keys.fail("rope_interleave", "is false; only adjacent pairs are turned", Code::unimplemented);
  const int64_t widest = int64_t{c.heads} * (std::max(c.nope, c.value) + std::max(c.nope, c.rope));
  if (widest > (int64_t{1} << 30))
    keys.fail("num_attention_heads", "times the head size is absurd");
}

void read_experts(Keys& keys, ModelConfig& c) {
  c.intermediate = keys.size("intermediate_size");
  c.expert_intermediate = keys.size("moe_intermediate_size");
  c.experts = keys.size("n_routed_experts", 1, 1 << 16);
  c.shared_experts = keys.size_or("n_shared_experts", 0, 0);
  c.experts_chosen = keys.size("num_experts_per_tok", 1, 1 << 10);
  const bool grouped = c.group_score != GroupScore::none;
  c.groups = grouped ? keys.size_or("n_group", 1) : 1;
  c.groups_kept = grouped ? keys.size_or("topk_group", c.groups == 1 ? 1 : 0) : 1;
  c.dense_layers = keys.size_or("first_k_dense_replace", 0, 0);
  c.moe_layer_freq = keys.size_or("moe_layer_freq", 1);
  c.normalise_weights = keys.flag_or("norm_topk_prob", true);
  c.routed_factor = static_cast<float>(keys.number_or("routed_scaling_factor", 1, 1e-6, 1e6));
  if (!keys.status().ok()) return;
  const auto text = [](int v) { return std::to_string(v); };
  if (c.experts % c.groups != 0)
    return keys.fail("n_group", "is " + text(c.groups) +
                                    ", which does not divide n_routed_experts " + text(c.experts));
  const int in_group = c.experts / c.groups;
  if (c.groups > 1 && c.group_score == GroupScore::top2_sum && in_group < 2)
    return keys.fail("n_group", "leaves one expert a group; the group score needs two");
  if (c.groups_kept < 1 || c.groups_kept > c.groups)
    return keys.fail("topk_group",
                     "is " + text(c.groups_kept) + ", outside 1 to n_group " + text(c.groups));
  if (c.experts_chosen > c.groups_kept * in_group)
    keys.fail("num_experts_per_tok", "is " + text(c.experts_chosen) +
                                         ", but the kept groups hold " +
                                         text(c.groups_kept * in_group) + " experts");
  if (int64_t{c.expert_intermediate} * c.shared_experts > kSizeMax)
    keys.fail("n_shared_experts", "times moe_intermediate_size is absurd");
}

}  // namespace

Result<ModelConfig> read_deepseek_v3(Keys& keys, ModelConfig c) {
  c.router_bias = true;
  read_sizes(keys, c);
  keys.want_text("scoring_func", "sigmoid");
  keys.want_text("topk_method", "noaux_tc");
  read_attention(keys, c);
  read_experts(keys, c);
  read_rope(keys, c);
  c.draft_layers = keys.size_or("num_nextn_predict_layers", 0, 0);
  check_quantization(keys);
  FATHOM_CHECKED(keys.status());
  return c;
}

// Softmax scores, no bias; experts by groups or plainly the best. Weights that are divided by their
// sum are not multiplied by routed_scaling_factor, and a single expert's is not divided: so
// DeepSeek's published code.
Result<ModelConfig> read_deepseek_v2(Keys& keys, ModelConfig c) {
  c.scoring = Scoring::softmax;
  read_sizes(keys, c);
  keys.want_text("scoring_func", "softmax");
  const std::string method = keys.text_or("topk_method", "greedy");
  if (method != "greedy" && method != "group_limited_greedy")
    keys.fail("topk_method",
              "is \"" + method + "\"; served are \"greedy\" and \"group_limited_greedy\"",
              Code::unimplemented);
  c.group_score = method == "greedy" ? GroupScore::none : GroupScore::max;
  read_attention(keys, c);
  read_experts(keys, c);
  c.normalise_weights = keys.flag_or("norm_topk_prob", false) && c.experts_chosen > 1;
  if (c.normalise_weights) c.routed_factor = 1;
  read_rope(keys, c);
  check_quantization(keys);
  FATHOM_CHECKED(keys.status());
  return c;
}

}  // namespace fathom
