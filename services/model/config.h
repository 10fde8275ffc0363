// What does a checkpoint say about its model? `config.json`, read strictly: every value the forward
// depends on is checked here, so a wrong or missing one is an error that names the key and the
// file, never a crash or a wrong token later. A new family is one more row in config.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/ops.h"

namespace fathom {

struct RopeScaling {
  enum class Kind : uint8_t { none, linear, yarn, llama3 };
  Kind kind = Kind::none;
  double factor = 1;
  double original_context = 0;
  double beta_fast = 32, beta_slow = 1;
  double mscale = 1, mscale_all_dim = 0;
  double magnitude = 0;  // of cos and sin, where the file says it; 0: from the mscales
  double low_factor = 1, high_factor = 4;  // of llama3
};

// mla: latents shared by all heads (DeepSeek V2, V3). gqa: keys and values shared by groups of
// heads (Llama, Qwen2).
enum class AttentionKind : uint8_t { mla, gqa };

// What the forward of any served family depends on; what a family has no use for stays 0. Sizes as
// in math.md of the design: dn, dr, dv are nope, rope, value; r is kv_rank.
struct ModelConfig {
  std::string model_type;    // "deepseek_v3", ...
  std::string architecture;  // "DeepseekV3ForCausalLM", for people
  int32_t vocab = 0;
  int32_t hidden = 0;
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t context_max = 0;
  AttentionKind attention = AttentionKind::mla;
  // Biases of the projections into attention and out of it; of mla, the two into the low ranks.
  bool qkv_bias = false, output_bias = false;
  // Of gqa.
  int32_t kv_heads = 0, head_dim = 0;
  bool mlp_bias = false;  // of gate, up and down
  // Of mla.
  int32_t q_rank = 0;  // 0: queries come from one matrix, q_proj
  int32_t kv_rank = 0;
  int32_t nope = 0, rope = 0, value = 0;
  int32_t intermediate = 0;
  int32_t expert_intermediate = 0;
  int32_t experts = 0;
  int32_t shared_experts = 0;  // 0: no shared part
  int32_t experts_chosen = 0;
  int32_t groups = 1, groups_kept = 1;
  int32_t dense_layers = 0;  // the first layers have no experts
  int32_t moe_layer_freq = 1;
  Scoring scoring = Scoring::sigmoid;
  GroupScore group_score = GroupScore::top2_sum;
  bool normalise_weights = true;
  float routed_factor = 1;
  bool router_bias = false;  // e_score_correction_bias selects experts
  float norm_eps = 1e-6f;
  double rope_theta = 10000;
  RopeScaling scaling;
  bool tied_embeddings = false;
  int32_t draft_layers = 0;  // num_nextn_predict_layers: modules that guess one token further

  bool moe(int32_t layer) const { return layer >= dense_layers && layer % moe_layer_freq == 0; }
  // Layers with a KV of their own: the draft layer has one too.
  int32_t cached_layers() const { return layers + (draft_layers > 0 ? 1 : 0); }
  int32_t shared_intermediate() const { return expert_intermediate * shared_experts; }
  int32_t latent_width() const { return kv_rank + rope; }
};

// `file` names the text in errors. UNIMPLEMENTED for a model_type that is not served, listing those
// that are.
Result<ModelConfig> parse_model_config(std::string_view json, const std::string& file);

// Reads `dir`/config.json.
Result<ModelConfig> read_model_config(const std::string& dir);

// The whole file as text; NOT_FOUND names it.
Result<std::string> read_text_file(const std::string& path);

}  // namespace fathom
