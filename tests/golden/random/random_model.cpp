#include "random_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

namespace fathom {
namespace {

class Maker {
 public:
  Maker(const std::string& family, uint64_t seed, RandomModel& out)
      : random_(seed), out_(out), s_(out.shape) {
    s_.family = family;
  }

  void run() {
    choose_shape();
    add_all();
    write();
  }

 private:
  int between(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int n) { return random_() % static_cast<uint64_t>(n) == 0; }
  double normal() { return normal_(random_); }
  template <class T>
  T one_of(std::initializer_list<T> list) {
    return *(list.begin() + random_() % list.size());
  }

  void choose_shape() {
    s_.weights = one_of<std::string>({"F32", "BF16", "F16", "F8_E4M3", "F8_E4M3", "F8_E4M3"});
    s_.scales = one_of<std::string>({"F32", "F8_E8M0", "BF16"});
    const int big = s_.weights == "F8_E4M3" ? 140 : 30;  // partial and several scale blocks
    s_.vocab = 12 * between(3, 20);
    s_.hidden = between(20, 60) + big;
    s_.layers = between(1, 4);
    s_.heads = one_of({1, 2, 3, 4, 6});
    s_.q_rank = one_in(3) ? 0 : between(5, 40) + big;
    s_.kv_rank = between(3, 40) + big;
    s_.nope = between(3, 50);
    s_.rope = 2 * between(1, 12);
    s_.value = between(3, 50);
    s_.intermediate = 12 * between(2, 16);
    s_.expert_intermediate = 12 * between(1, 13);
    s_.groups = one_of({1, 1, 2, 4});
    s_.experts = s_.groups * 6;
    s_.groups_kept = between(1, s_.groups);
    s_.chosen = between(1, std::min(8, s_.groups_kept * 6));
    s_.shared = between(0, 2);
    s_.dense_layers = between(0, 2);
    s_.freq = one_of({1, 1, 2});
    s_.normalise = !one_in(4);
    s_.tied = one_in(4);
    s_.routed_factor = one_of({1.0, 2.5});
    s_.eps = one_of({1e-6, 1e-5});
    s_.theta = one_of({10000.0, 100.0});
    s_.scaling = one_of<std::string>({"none", "yarn", "yarn", "linear"});
    s_.factor = one_of({4.0, 40.0});
    s_.original = one_of({16.0, 4096.0});
    s_.mscale = one_of({1.0, 0.707});
    s_.mscale_all_dim = one_of({0.0, 1.0, 0.707});
    if (s_.family == "deepseek_v2")
      s_.method = one_of<std::string>({"greedy", "group_limited_greedy"});
    s_.qkv_bias = s_.output_bias = one_in(4);
    if (grouped(s_)) choose_grouped();
  }

  void choose_grouped() {
    s_.kv_heads = s_.heads;
    for (const int n : {2, 3})
      if (s_.kv_heads % n == 0 && one_in(2)) s_.kv_heads /= n;
    s_.head_dim = 2 * between(1, 24);
    if (one_in(4)) s_.hidden = s_.heads * s_.head_dim;  // the only shape without head_dim
    s_.qkv_bias = s_.family == "qwen2" || one_in(3);
    s_.output_bias = s_.family == "llama" && s_.qkv_bias;
    s_.mlp_bias = s_.family == "llama" && one_in(3);
    s_.scaling = one_of<std::string>({"none", "yarn", "linear", "llama3", "llama3"});
    s_.mscale = 1;  // these families do not look at them
    s_.mscale_all_dim = 0;
    s_.attention_factor = one_of({0.0, 1.3});
    s_.low_factor = one_of({1.0, 2.0});
    s_.high_factor = one_of({4.0, 5.5});
  }

  static std::string raw(const void* data, size_t n) { return {static_cast<const char*>(data), n}; }

  // Rounds x to the stored type; returns its bytes and what they mean.
  static std::string encode(const std::string& type, double x, double& meaning) {
    if (type == "F32") {
      const auto f = static_cast<float>(x);
      meaning = f;
      return raw(&f, 4);
    }
    if (type == "BF16") {
      const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(x)) & 0xffff0000u;
      meaning = std::bit_cast<float>(bits);
      const auto high = static_cast<uint16_t>(bits >> 16);
      return raw(&high, 2);
    }
    CHECK(type == "F16");
    int exponent = 0;
    std::frexp(x, &exponent);
    const int shift = std::max(exponent - 11, -24);  // subnormal step 2^-24
    meaning = std::ldexp(std::trunc(std::ldexp(x, -shift)), shift);
    const double magnitude = std::abs(meaning);
    uint16_t h = 0;
    if (magnitude >= std::ldexp(1.0, -14)) {
      std::frexp(magnitude, &exponent);
      const auto mantissa = static_cast<uint16_t>(std::ldexp(magnitude, 11 - exponent) - 1024);
      h = static_cast<uint16_t>(((exponent + 14) << 10) | mantissa);
    } else {
      h = static_cast<uint16_t>(std::ldexp(magnitude, 24));
    }
    if (x < 0) h |= 0x8000;
    return raw(&h, 2);
  }

  static double e4m3(int byte) {
    const int exponent = (byte >> 3) & 15, mantissa = byte & 7;
    const double v =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return byte & 128 ? -v : v;
  }

  void add(const std::string& name, int rows, int cols, double spread, double centre,
           const std::string& type) {
    NumberTable table{rows, cols, {}};
    TensorToWrite t{name, type, {}, {}};
    t.shape = rows == 1 ? std::vector<int64_t>{cols} : std::vector<int64_t>{rows, cols};
    for (int i = 0; i < rows * cols; ++i) {
      double meaning = 0;
      t.bytes += encode(type, centre + spread * normal(), meaning);
      table.v.push_back(meaning);
    }
    tensors_.push_back(std::move(t));
    out_.tensors[name] = std::move(table);
  }

  void add_fp8(const std::string& name, int rows, int cols, double spread) {
    const int down = (rows + 127) / 128, across = (cols + 127) / 128;
    std::vector<double> scale;
    TensorToWrite s{name + "_scale_inv", s_.scales, {down, across}, {}};
    for (int i = 0; i < down * across; ++i) {
      const double want =
          spread / 40 * std::exp2(between(-2, 2) * 0.7);  // e4m3 bytes below spread about 40
      double meaning = 0;
      if (s_.scales == "F8_E8M0") {
        const int power = static_cast<int>(std::lround(std::log2(want)));
        meaning = std::exp2(power);
        s.bytes += static_cast<char>(power + 127);
      } else {
        s.bytes += encode(s_.scales, want, meaning);
      }
      scale.push_back(meaning);
    }
    NumberTable table{rows, cols, {}};
    TensorToWrite t{name, "F8_E4M3", {rows, cols}, {}};
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < cols; ++c) {
        const int byte = between(0, 0x6f) | (one_in(2) ? 128 : 0);  // up to 120
        t.bytes += static_cast<char>(byte);
        table.v.push_back(e4m3(byte) * scale[static_cast<size_t>((r / 128) * across + c / 128)]);
      }
    tensors_.push_back(std::move(t));
    tensors_.push_back(std::move(s));
    out_.tensors[name] = std::move(table);
  }

  void linear(const std::string& name, int rows, int cols, double gain = 1) {
    const double spread = gain / std::sqrt(cols);
    if (s_.weights == "F8_E4M3") return add_fp8(name, rows, cols, spread);
    add(name, rows, cols, spread, 0, s_.weights);
  }
  void norm(const std::string& name, int width) { add(name, 1, width, 0.2, 1, other()); }
  std::string other() const { return s_.weights == "F8_E4M3" ? "BF16" : s_.weights; }

  void mlp(const std::string& prefix, int width) {
    linear(prefix + "gate_proj.weight", width, s_.hidden, 1.5);
    linear(prefix + "up_proj.weight", width, s_.hidden, 1.5);
    linear(prefix + "down_proj.weight", s_.hidden, width);
  }

  void bias(const std::string& name, int width) { add(name + ".bias", 1, width, 0.5, 0, other()); }

  void mla(const std::string& a) {
    const int q_rows = s_.heads * (s_.nope + s_.rope);
    if (s_.q_rank == 0) {
      linear(a + "q_proj.weight", q_rows, s_.hidden, 2);
    } else {
      linear(a + "q_a_proj.weight", s_.q_rank, s_.hidden);
      norm(a + "q_a_layernorm.weight", s_.q_rank);
      linear(a + "q_b_proj.weight", q_rows, s_.q_rank, 2);
    }
    linear(a + "kv_a_proj_with_mqa.weight", s_.kv_rank + s_.rope, s_.hidden);
    norm(a + "kv_a_layernorm.weight", s_.kv_rank);
    linear(a + "kv_b_proj.weight", s_.heads * (s_.nope + s_.value), s_.kv_rank);
    linear(a + "o_proj.weight", s_.hidden, s_.heads * s_.value);
    if (!s_.qkv_bias) return;
    if (s_.q_rank > 0) bias(a + "q_a_proj", s_.q_rank);
    bias(a + "kv_a_proj_with_mqa", s_.kv_rank + s_.rope);
    bias(a + "o_proj", s_.hidden);
  }

  void gqa(const std::string& a) {
    const int q_rows = s_.heads * s_.head_dim, kv_rows = s_.kv_heads * s_.head_dim;
    linear(a + "q_proj.weight", q_rows, s_.hidden, 2);
    linear(a + "k_proj.weight", kv_rows, s_.hidden, 2);
    linear(a + "v_proj.weight", kv_rows, s_.hidden);
    linear(a + "o_proj.weight", s_.hidden, q_rows);
    if (s_.qkv_bias) {
      bias(a + "q_proj", q_rows);
      bias(a + "k_proj", kv_rows);
      bias(a + "v_proj", kv_rows);
    }
    if (s_.output_bias) bias(a + "o_proj", s_.hidden);
  }

  void moe(const std::string& m) {
    add(m + "gate.weight", s_.experts, s_.hidden, 2 / std::sqrt(s_.hidden), 0, other());
    if (s_.family == "deepseek_v3")
      add(m + "gate.e_score_correction_bias", 1, s_.experts, 0.3, 0, "F32");
    if (s_.shared > 0) mlp(m + "shared_experts.", s_.expert_intermediate * s_.shared);
    for (int e = 0; e < s_.experts; ++e)
      mlp(m + "experts." + std::to_string(e) + ".", s_.expert_intermediate);
  }

  void add_all() {
    add("model.embed_tokens.weight", s_.vocab, s_.hidden, 1, 0, other());
    norm("model.norm.weight", s_.hidden);
    if (!s_.tied) add("lm_head.weight", s_.vocab, s_.hidden, 3 / std::sqrt(s_.hidden), 0, other());
    for (int i = 0; i < s_.layers; ++i) {
      const std::string p = "model.layers." + std::to_string(i) + ".", m = p + "mlp.";
      norm(p + "input_layernorm.weight", s_.hidden);
      norm(p + "post_attention_layernorm.weight", s_.hidden);
      grouped(s_) ? gqa(p + "self_attn.") : mla(p + "self_attn.");
      const bool dense = grouped(s_) || i < s_.dense_layers || i % s_.freq != 0;
      dense ? mlp(m, s_.intermediate) : moe(m);
      if (!s_.mlp_bias) continue;
      bias(m + "gate_proj", s_.intermediate);
      bias(m + "up_proj", s_.intermediate);
      bias(m + "down_proj", s_.hidden);
    }
  }

  void write() {
    const auto n = [](int v) { return std::to_string(v); };
    out_.folder.write("config.json", random_config_json(s_));
    std::shuffle(tensors_.begin(), tensors_.end(), random_);
    const bool aligned = one_in(2);
    if (one_in(2))
      return out_.folder.write("model.safetensors", safetensors_bytes(tensors_, aligned));
    std::vector<TensorToWrite> parts[2];
    std::string map;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      map += (map.empty() ? "" : ",") + ("\"" + tensors_[i].name + "\":\"part-" +
                                         n(static_cast<int>(i % 2)) + ".safetensors\"");
      parts[i % 2].push_back(tensors_[i]);
    }
    for (const int i : {0, 1})
      out_.folder.write("part-" + n(i) + ".safetensors", safetensors_bytes(parts[i], aligned));
    out_.folder.write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  }

  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
  RandomModel& out_;
  RandomShape& s_;
  std::vector<TensorToWrite> tensors_;
};

}  // namespace

void make_random_model(const std::string& family, uint64_t seed, RandomModel& out) {
  Maker(family, seed, out).run();
}

std::string RandomModel::about() const {
  const RandomShape& s = shape;
  return s.family + " " + s.method + " " + s.weights +
         (s.weights == "F8_E4M3" ? "/" + s.scales : "") + ", hidden " + std::to_string(s.hidden) +
         ", heads " + std::to_string(s.heads) + " / " + std::to_string(s.kv_heads) + ", q_rank " +
         std::to_string(s.q_rank) + ", layers " + std::to_string(s.layers) + ", experts " +
         std::to_string(s.experts) + " in " + std::to_string(s.groups) + " groups, rope " +
         s.scaling;
}

}  // namespace fathom
