// How does a random model's config.json read? The keys of its family, some left out where a missing
// key means the same.
#include "random_model.h"

namespace fathom {
namespace {

class Config {
 public:
  explicit Config(const RandomShape& shape) : s_(shape) {}

  std::string text() {
    json_ = "{\"model_type\":\"" + s_.family + "\",\"architectures\":[\"Random\"]";
    size("vocab_size", s_.vocab), size("hidden_size", s_.hidden);
    size("num_hidden_layers", s_.layers), size("num_attention_heads", s_.heads);
    size("intermediate_size", s_.intermediate), size("max_position_embeddings", 4096);
    flag("tie_word_embeddings", s_.tied);
    key("rms_norm_eps", s_.eps > 5e-6 ? "1e-05" : "1e-06");
    grouped(s_) ? dense() : latent();
    key("rope_scaling", scaling());
    if (s_.weights == "F8_E4M3")
      key("quantization_config",
          "{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\",\"weight_"
          "block_size\":[128,128]}");
    return json_ + "}";
  }

 private:
  void key(const std::string& name, const std::string& value) {
    json_ += ",\"" + name + "\":" + value;
  }
  void size(const std::string& name, int value) { key(name, std::to_string(value)); }
  void flag(const std::string& name, bool value) { key(name, value ? "true" : "false"); }

  void dense() {
    if (s_.kv_heads != s_.heads || s_.tied) size("num_key_value_heads", s_.kv_heads);
    if (s_.hidden != s_.heads * s_.head_dim) size("head_dim", s_.head_dim);
    if (s_.theta != 10000) size("rope_theta", static_cast<int>(s_.theta));
    if (s_.family == "llama") flag("attention_bias", s_.qkv_bias), flag("mlp_bias", s_.mlp_bias);
    if (s_.family == "qwen2") size("sliding_window", 3), flag("use_sliding_window", false);
  }

  void latent() {
    key("q_lora_rank", s_.q_rank ? std::to_string(s_.q_rank) : "null");
    if (s_.qkv_bias) flag("attention_bias", true);
    size("kv_lora_rank", s_.kv_rank), size("qk_nope_head_dim", s_.nope);
    size("qk_rope_head_dim", s_.rope), size("v_head_dim", s_.value);
    size("moe_intermediate_size", s_.expert_intermediate), size("n_routed_experts", s_.experts);
    key("n_shared_experts", s_.shared ? std::to_string(s_.shared) : "null");
    size("num_experts_per_tok", s_.chosen);
    const bool null = s_.groups == 1 && s_.shared == 1;
    key("n_group", null ? "null" : std::to_string(s_.groups));
    key("topk_group", null ? "null" : std::to_string(s_.groups_kept));
    size("first_k_dense_replace", s_.dense_layers), size("moe_layer_freq", s_.freq);
    flag("norm_topk_prob", s_.normalise);
    key("routed_scaling_factor", std::to_string(s_.routed_factor));
    size("rope_theta", static_cast<int>(s_.theta));
    const bool v2 = s_.family == "deepseek_v2";
    key("scoring_func", v2 ? "\"softmax\"" : "\"sigmoid\"");
    key("topk_method", "\"" + (v2 ? s_.method : "noaux_tc") + "\"");
  }

  std::string scaling() const {
    if (s_.scaling == "none") return "null";
    const std::string name = s_.family == "llama" ? "rope_type" : "type";
    std::string out = "{\"" + name + "\":\"" + s_.scaling + "\"";
    const auto number = [&](const std::string& what, double value) {
      out += ",\"" + what + "\":" + std::to_string(value);
    };
    number("factor", s_.factor);
    if (s_.scaling == "linear") return out + "}";
    number("original_max_position_embeddings", s_.original);
    if (s_.scaling == "llama3") {
      number("low_freq_factor", s_.low_factor);
      number("high_freq_factor", s_.high_factor);
    } else {
      number("beta_fast", 32), number("beta_slow", 1);
      if (s_.attention_factor > 0) number("attention_factor", s_.attention_factor);
      if (!grouped(s_)) number("mscale", s_.mscale), number("mscale_all_dim", s_.mscale_all_dim);
    }
    return out + "}";
  }

  const RandomShape& s_;
  std::string json_;
};

}  // namespace

std::string random_config_json(const RandomShape& shape) { return Config(shape).text(); }

}  // namespace fathom
