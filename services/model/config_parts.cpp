// Which keys of config.json mean the same in every family? Sizes, rope with its scalings, and the
// kind of quantisation.
#include "model/config_keys.h"

namespace fathom {
namespace {

// `type` in DeepSeek's files, `rope_type` in newer ones.
RopeScaling read_scaling(Keys& keys) {
  RopeScaling s;
  const std::string type = keys.text_or("rope_type", keys.text_or("type", "default"));
  if (type == "default") return s;
  if (type == "linear") {
    s.kind = RopeScaling::Kind::linear;
  } else if (type == "llama3") {
    s.kind = RopeScaling::Kind::llama3;
  } else if (type == "yarn") {
    s.kind = RopeScaling::Kind::yarn;
  } else {
    keys.fail(keys.has("rope_type") ? "rope_type" : "type",
              "is \"" + type + "\"; served are yarn, llama3, linear and default",
              Code::unimplemented);
    return s;
  }
  s.factor = keys.number("factor", 1e-3, 1e6);
  if (s.kind == RopeScaling::Kind::linear) return s;
  s.original_context = keys.number("original_max_position_embeddings", 1, 1e9);
  if (s.kind == RopeScaling::Kind::llama3) {
    s.low_factor = keys.number("low_freq_factor", 1e-6, 1e6);
    s.high_factor = keys.number("high_freq_factor", 1e-6, 1e6);
    if (!(s.high_factor > s.low_factor))
      keys.fail("high_freq_factor", "must be above low_freq_factor");
    return s;
  }
  s.beta_fast = keys.number_or("beta_fast", 32, 1e-6, 1e6);
  s.beta_slow = keys.number_or("beta_slow", 1, 1e-6, 1e6);
  if (keys.has("attention_factor")) s.magnitude = keys.number("attention_factor", 1e-6, 1e3);
  if (!keys.flag_or("truncate", true))
    keys.fail("truncate", "is false; only true is served", Code::unimplemented);
  s.mscale = keys.number_or("mscale", 1, 0, 1e3);
  s.mscale_all_dim = keys.number_or("mscale_all_dim", 0, 0, 1e3);
  return s;
}

}  // namespace

void read_sizes(Keys& keys, ModelConfig& c) {
  c.vocab = keys.size("vocab_size");
  c.hidden = keys.size("hidden_size");
  c.layers = keys.size("num_hidden_layers", 1, 1 << 12);
  c.context_max = keys.size("max_position_embeddings", 1, 1 << 30);
  c.norm_eps = static_cast<float>(keys.number("rms_norm_eps", 1e-12, 1));
  c.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
  keys.want_text("hidden_act", "silu");
}

// Newer files hold theta and the scaling together in `rope_parameters`.
void read_rope(Keys& keys, ModelConfig& c, double theta) {
  const char* where = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (keys.has(where)) {
    const json::object* object = keys.child(where);
    if (object == nullptr) return keys.fail(where, "must be an object");
    Keys inner(*object, keys.file(), std::string(where) + ".");
    c.scaling = read_scaling(inner);
    if (inner.has("rope_theta")) c.rope_theta = inner.number("rope_theta", 1.0001, 1e12);
    keys.take(inner.status());
    if (inner.has("rope_theta")) return;
  }
  if (theta > 0 && !keys.has("rope_theta")) {
    c.rope_theta = theta;
  } else {
    c.rope_theta = keys.number("rope_theta", 1.0001, 1e12);
  }
}

// Weights say by their own type whether they are FP8; this only refuses a kind of quantisation we
// can not read.
void check_quantization(Keys& keys) {
  if (!keys.has("quantization_config")) return;
  const json::object* object = keys.child("quantization_config");
  if (object == nullptr) return keys.fail("quantization_config", "must be an object");
  Keys q(*object, keys.file(), "quantization_config.");
  const std::string method = q.text_or("quant_method", "");
  if (method != "fp8")
    q.fail("quant_method", "is \"" + method + "\"; only \"fp8\" is served", Code::unimplemented);
  q.want_text("fmt", "e4m3");
  q.want_text("activation_scheme", "dynamic");
  if (const auto* block = object->if_contains("weight_block_size"); block && !block->is_null()) {
    const auto* list = block->if_array();
    const bool right =
        list && list->size() == 2 && (*list)[0] == kScaleBlock && (*list)[1] == kScaleBlock;
    if (!right) q.fail("weight_block_size", "must be [128, 128]", Code::unimplemented);
  } else {
    q.fail("weight_block_size", "is missing; per-tensor scales are not served",
           Code::unimplemented);
  }
  keys.take(q.status());
}

}  // namespace fathom
