#include "model/config.h"

#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <fstream>
#include <sstream>

namespace fathom {
namespace {

namespace json = boost::json;

constexpr double kSizeMax =
    1 << 24;  // no published dimension comes near; products stay far below 2^63

// Reads keys of one JSON object and keeps the first complaint, so a family reads as a list of keys.
class Keys {
 public:
  Keys(const json::object& object, std::string file, std::string prefix = {})
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  bool has(std::string_view key) const {
    const auto* value = object_.if_contains(key);
    return value != nullptr && !value->is_null();
  }
  const json::object* child(std::string_view key) const {
    const auto* value = object_.if_contains(key);
    return value == nullptr ? nullptr : value->if_object();
  }
  int32_t size(std::string_view key, double least = 1, double most = kSizeMax) {
    const double v = number(key, least, most);
    if (v != std::floor(v)) fail(key, "must be a whole number");
    return static_cast<int32_t>(v);
  }
  int32_t size_or(std::string_view key, int32_t absent, double least = 1) {
    return has(key) ? size(key, least) : absent;
  }
  double number(std::string_view key, double least, double most) {
    const auto* value = object_.if_contains(key);
    if (value == nullptr || value->is_null()) return fail(key, "is missing"), least;
    if (!value->is_number()) return fail(key, "must be a number"), least;
    const double v = value->to_number<double>();
    if (!(v >= least && v <= most)) {
      std::ostringstream text;
      text << "is " << v << ", outside " << least << " to " << most;
      return fail(key, text.str()), least;
    }
    return v;
  }
  double number_or(std::string_view key, double absent, double least, double most) {
    return has(key) ? number(key, least, most) : absent;
  }
  bool flag_or(std::string_view key, bool absent) {
    if (!has(key)) return absent;
    const auto* value = object_.if_contains(key)->if_bool();
    if (value == nullptr) return fail(key, "must be true or false"), absent;
    return *value;
  }
  std::string text_or(std::string_view key, std::string absent) {
    if (!has(key)) return absent;
    const auto* value = object_.if_contains(key)->if_string();
    if (value == nullptr) return fail(key, "must be a string"), absent;
    return std::string(*value);
  }
  void want_text(std::string_view key, std::string_view only) {
    const std::string got = text_or(key, std::string(only));
    if (got != only)
      fail(key, "is \"" + got + "\"; only \"" + std::string(only) + "\" is served",
           Code::unimplemented);
  }
  void fail(std::string_view key, const std::string& what, Code code = Code::invalid_argument) {
    if (!status_.ok()) return;
    const std::string name = prefix_ + std::string(key);
    status_ = Error{code, "config.json: " + name + " " + what, file_ + ": " + name};
  }
  void take(Status other) {
    if (status_.ok()) status_ = std::move(other);
  }
  Status status() const { return status_; }
  const std::string& file() const { return file_; }

 private:
  const json::object& object_;
  std::string file_, prefix_;
  Status status_;
};

// `type` in DeepSeek's files, `rope_type` in newer ones.
RopeScaling read_scaling(Keys& keys) {
  RopeScaling s;
  const std::string type = keys.text_or("rope_type", keys.text_or("type", "default"));
  if (type == "default") return s;
  if (type != "yarn" && type != "linear") {
    keys.fail("type", "is \"" + type + "\"; served are yarn, linear and default",
              Code::unimplemented);
    return s;
  }
  s.kind = type == "yarn" ? RopeScaling::Kind::yarn : RopeScaling::Kind::linear;
  s.factor = keys.number("factor", 1e-3, 1e6);
  if (s.kind == RopeScaling::Kind::linear) return s;
  s.original_context = keys.number("original_max_position_embeddings", 1, 1e9);
  s.beta_fast = keys.number_or("beta_fast", 32, 1e-6, 1e6);
  s.beta_slow = keys.number_or("beta_slow", 1, 1e-6, 1e6);
  s.mscale = keys.number_or("mscale", 1, 0, 1e3);
  s.mscale_all_dim = keys.number_or("mscale_all_dim", 0, 0, 1e3);
  return s;
}

// Newer files hold theta and the scaling together in `rope_parameters`.
void read_rope(Keys& keys, ModelConfig& c) {
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
  c.rope_theta = keys.number("rope_theta", 1.0001, 1e12);
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

void read_attention(Keys& keys, ModelConfig& c) {
  c.heads = keys.size("num_attention_heads", 1, 1 << 16);
  c.q_rank = keys.size_or("q_lora_rank", 0);
  c.kv_rank = keys.size("kv_lora_rank", 1, 1 << 16);
  c.nope = keys.size("qk_nope_head_dim", 1, 1 << 14);
  c.rope = keys.size("qk_rope_head_dim", 2, 1 << 14);
  c.value = keys.size("v_head_dim", 1, 1 << 14);
  if (c.rope % 2 != 0) keys.fail("qk_rope_head_dim", "must be even");
  if (keys.flag_or("attention_bias", false))
    keys.fail("attention_bias", "is true; biases are not served", Code::unimplemented);
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

void read_sizes(Keys& keys, ModelConfig& c) {
  c.vocab = keys.size("vocab_size");
  c.hidden = keys.size("hidden_size");
  c.layers = keys.size("num_hidden_layers", 1, 1 << 12);
  c.context_max = keys.size("max_position_embeddings", 1, 1 << 30);
  c.norm_eps = static_cast<float>(keys.number("rms_norm_eps", 1e-12, 1));
  c.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
  keys.want_text("hidden_act", "silu");
}

Result<ModelConfig> read_deepseek_v3(Keys& keys, ModelConfig c) {
  read_sizes(keys, c);
  keys.want_text("scoring_func", "sigmoid");
  keys.want_text("topk_method", "noaux_tc");
  read_attention(keys, c);
  read_experts(keys, c);
  read_rope(keys, c);
  check_quantization(keys);
  FATHOM_CHECKED(keys.status());
  return c;
}

// Softmax scores, no bias; experts by groups or plainly the best. Weights that are divided by their
// sum are not multiplied by routed_scaling_factor, and a single expert's is not divided: so
// DeepSeek's published code.
Result<ModelConfig> read_deepseek_v2(Keys& keys, ModelConfig c) {
  c.router_bias = false;
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

struct Family {
  std::string_view model_type;
  Result<ModelConfig> (*read)(Keys&, ModelConfig);
};
constexpr std::array kFamilies = {Family{"deepseek_v2", read_deepseek_v2},
                                  Family{"deepseek_v3", read_deepseek_v3}};

Error unknown_family(const std::string& type, const std::string& file) {
  std::string served;
  for (const auto& family : kFamilies)
    served += (served.empty() ? "" : ", ") + std::string(family.model_type);
  return {Code::unimplemented,
          "config.json: model_type \"" + type + "\" is not served; served: " + served,
          file + ": model_type"};
}

}  // namespace

Result<ModelConfig> parse_model_config(std::string_view text, const std::string& file) {
  boost::system::error_code problem;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), problem);
  if (problem) return invalid("not valid JSON: " + problem.message(), file);
  if (!root.is_object()) return invalid("must be a JSON object", file);
  Keys keys(root.get_object(), file);
  ModelConfig c;
  if (!keys.has("model_type")) keys.fail("model_type", "is missing");
  c.model_type = keys.text_or("model_type", "");
  FATHOM_CHECKED(keys.status());
  if (const auto* list = root.get_object().if_contains("architectures"); list && list->is_array()) {
    const auto& names = list->get_array();
    if (!names.empty() && names[0].is_string()) c.architecture = std::string(names[0].get_string());
  }
  for (const auto& family : kFamilies)
    if (family.model_type == c.model_type) return family.read(keys, c);
  return unknown_family(c.model_type, file);
}

Result<ModelConfig> read_model_config(const std::string& dir) {
  const std::string file = dir + "/config.json";
  FATHOM_TRY(const std::string text, read_text_file(file));
  return parse_model_config(text, file);
}

Result<std::string> read_text_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) return Error{Code::not_found, "can not read the file", path};
  return std::move(text).str();
}

}  // namespace fathom
