// What does the config of Llama, DeepSeek-LLM, DeepSeek-Coder or Qwen2 say? Attention in groups of
// heads and a dense MLP; the two model types differ in which biases there are and in a sliding
// window that must be off.
#include "model/config_keys.h"

namespace fathom {
namespace {

// Files from before the key was added mean this value.
constexpr double kTheta = 10000;
// The kernels keep a head's output in registers or on the stack.
constexpr double kHeadDimMax = 256;

void refuse_flag(Keys& keys, std::string_view key, const char* why) {
  if (keys.flag_or(key, false)) keys.fail(key, std::string("is true; ") + why, Code::unimplemented);
}

// The window that `sliding_window` gives counts only where use_sliding_window says so, and only in
// layers from max_window_layers on.
void refuse_window(Keys& keys) {
  if (!keys.flag_or("use_sliding_window", false) || !keys.has("sliding_window")) return;
  const int32_t layers = keys.size("num_hidden_layers");
  if (keys.size_or("max_window_layers", layers, 0) < layers)
    keys.fail("use_sliding_window", "is true; attention within a window is not served",
              Code::unimplemented);
}

void read_heads(Keys& keys, ModelConfig& c) {
  c.attention = AttentionKind::gqa;
  c.heads = keys.size("num_attention_heads", 1, 1 << 16);
  c.kv_heads =
      keys.has("num_key_value_heads") ? keys.size("num_key_value_heads", 1, 1 << 16) : c.heads;
  if (!keys.status().ok()) return;
  const auto text = [](int v) { return std::to_string(v); };
  if (c.heads % c.kv_heads != 0)
    return keys.fail(
        "num_key_value_heads",
        "is " + text(c.kv_heads) + ", which does not divide num_attention_heads " + text(c.heads));
  if (!keys.has("head_dim") && c.hidden % c.heads != 0)
    return keys.fail("num_attention_heads", "is " + text(c.heads) +
                                                ", which does not divide hidden_size " +
                                                text(c.hidden) + ", and head_dim is missing");
  c.head_dim = keys.has("head_dim") ? keys.size("head_dim") : c.hidden / c.heads;
  if (c.head_dim % 2 != 0)
    return keys.fail("head_dim", "is " + text(c.head_dim) + ", must be even");
  if (c.head_dim > kHeadDimMax)
    return keys.fail("head_dim", "is " + text(c.head_dim) + "; served are at most 256",
                     Code::unimplemented);
  if (keys.number_or("partial_rotary_factor", 1, 0, 1) != 1)
    keys.fail("partial_rotary_factor", "is not 1; only whole heads are turned",
              Code::unimplemented);
}

Result<ModelConfig> read_dense(Keys& keys, ModelConfig c) {
  read_sizes(keys, c);
  c.dense_layers = c.layers;
  c.intermediate = keys.size("intermediate_size");
  read_heads(keys, c);
  read_rope(keys, c, kTheta);
  check_quantization(keys);
  FATHOM_CHECKED(keys.status());
  return c;
}

}  // namespace

// Biases, where there are any, stand on all four projections, and on all three of the MLP.
Result<ModelConfig> read_llama(Keys& keys, ModelConfig c) {
  c.qkv_bias = c.output_bias = keys.flag_or("attention_bias", false);
  c.mlp_bias = keys.flag_or("mlp_bias", false);
  return read_dense(keys, std::move(c));
}

// Biases always, on queries, keys and values only.
Result<ModelConfig> read_qwen2(Keys& keys, ModelConfig c) {
  c.qkv_bias = true;
  refuse_window(keys);
  refuse_flag(keys, "use_mrope", "multimodal rope is not served");
  keys.want_each_text("layer_types", "full_attention");
  return read_dense(keys, std::move(c));
}

}  // namespace fathom
