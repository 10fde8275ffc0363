// What do the families' configs mean, and what of them is refused? Each test alters the golden
// config of one family.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/config.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

// The golden config of `name` with the first `from` replaced.
Result<ModelConfig> parse(const std::string& name, const std::string& from = "{",
                          const std::string& to = "{") {
  std::string text =
      read_text_file(FATHOM_SOURCE_DIR "/tests/golden/data/" + name + "/config.json").value();
  const size_t at = text.find(from);
  CHECK(at != std::string::npos, from);
  return parse_model_config(text.replace(at, from.size(), to), "dir/config.json");
}

TEST(ModelFamilies, v2_routes_by_softmax_and_normalises_or_scales) {
  const auto grouped = parse("v2-like").value();
  EXPECT_EQ(grouped.scoring, Scoring::softmax);
  EXPECT_EQ(grouped.group_score, GroupScore::max);
  EXPECT_EQ(grouped.groups, 4);
  EXPECT_FALSE(grouped.router_bias);
  EXPECT_FALSE(grouped.normalise_weights);
  EXPECT_EQ(grouped.routed_factor, 16);

  // Groups play no part when the method is the plain one.
  const auto plain = parse("v2-like", "\"group_limited_greedy\"", "\"greedy\"").value();
  EXPECT_EQ(plain.group_score, GroupScore::none);
  EXPECT_EQ(plain.groups_kept, 1);

  // Weights divided by their sum are not scaled; a single one is never divided.
  const std::string divide = "\"norm_topk_prob\": false";
  const auto normalised = parse("v2-like", divide, "\"norm_topk_prob\": true").value();
  EXPECT_TRUE(normalised.normalise_weights);
  EXPECT_EQ(normalised.routed_factor, 1);
  const auto single =
      parse("v2-like", divide + ",\n  \"num_attention_heads\": 4,\n  \"num_experts_per_tok\": 4",
            "\"norm_topk_prob\": true, \"num_attention_heads\": 4, \"num_experts_per_tok\": 1");
  EXPECT_FALSE(single->normalise_weights);
  EXPECT_EQ(single->routed_factor, 16);

  const auto refused = parse("v2-like", "\"softmax\"", "\"sigmoid\"");
  EXPECT_THAT(refused.error().message, HasSubstr("scoring_func is \"sigmoid\""));
  const auto method = parse("v2-like", "\"group_limited_greedy\"", "\"noaux_tc\"");
  EXPECT_EQ(method.error().code, Code::unimplemented);
  EXPECT_THAT(method.error().message, HasSubstr("topk_method is \"noaux_tc\""));
}

TEST(ModelFamilies, llama_has_groups_of_heads_and_its_own_rope_scaling) {
  const auto c = parse("llama-tiny").value();
  EXPECT_EQ(c.attention, AttentionKind::gqa);
  EXPECT_EQ(c.heads, 6);
  EXPECT_EQ(c.kv_heads, 2);
  EXPECT_EQ(c.head_dim, 32);
  EXPECT_FALSE(c.moe(0));
  EXPECT_FALSE(c.qkv_bias);
  EXPECT_EQ(c.scaling.kind, RopeScaling::Kind::llama3);
  EXPECT_EQ(c.scaling.high_factor, 4);
  EXPECT_TRUE(parse("llama-tiny-tied")->tied_embeddings);

  const auto biased = parse("llama-tiny", "\"attention_bias\": false", "\"attention_bias\": true");
  EXPECT_TRUE(biased->qkv_bias);
  EXPECT_TRUE(biased->output_bias);
  EXPECT_TRUE(parse("llama-tiny", "\"mlp_bias\": false", "\"mlp_bias\": true")->mlp_bias);
}

TEST(ModelFamilies, what_old_llama_files_leave_out_has_its_old_meaning) {
  EXPECT_EQ(parse("llama-tiny", "\"num_key_value_heads\"", "\"unread\"")->kv_heads, 6);
  EXPECT_EQ(parse("llama-tiny", "\"head_dim\"", "\"unread\"")->head_dim, 192 / 6);
  EXPECT_EQ(parse("llama-tiny", "\"rope_theta\"", "\"unread\"")->rope_theta, 10000);
}

TEST(ModelFamilies, coder_turns_slower_by_a_factor) {
  const auto c = parse("deepseek-coder-like").value();
  EXPECT_EQ(c.scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(c.scaling.factor, 4);
  EXPECT_EQ(c.rope_theta, 100000);
}

TEST(ModelFamilies, qwen2_has_biases_and_no_window_unless_it_says_so) {
  const auto c = parse("qwen2-tiny").value();
  EXPECT_TRUE(c.qkv_bias);
  EXPECT_FALSE(c.output_bias);
  EXPECT_EQ(c.head_dim, 32);
  EXPECT_TRUE(parse("qwen2-tiny", "{", R"({"layer_types": ["full_attention"],)").ok());
  // A window that no layer uses is none.
  const std::string off = "\"use_sliding_window\": false", on = "\"use_sliding_window\": true";
  EXPECT_FALSE(parse("qwen2-tiny", off, on).ok());
  EXPECT_TRUE(parse("qwen2-tiny", off, on + ", \"max_window_layers\": 4").ok());
  EXPECT_TRUE(parse("qwen2-tiny", off, on + ", \"sliding_window\": null").ok());
}

struct Refusal {
  std::string golden, from, to, says;
  Code code = Code::unimplemented;
};

TEST(ModelFamilies, what_is_not_served_is_named_with_its_value) {
  const Code invalid = Code::invalid_argument;
  const std::vector<Refusal> all = {
      {"qwen2-tiny", "\"use_sliding_window\": false", "\"use_sliding_window\": true",
       "use_sliding_window is true"},
      {"v2-like", "{", R"({"rope_interleave": false,)", "rope_interleave is false"},
      {"qwen2-tiny", "\"use_mrope\": false", "\"use_mrope\": true", "use_mrope is true"},
      {"qwen2-tiny", "{", R"({"layer_types": ["full_attention", "sliding_attention"],)",
       "layer_types holds \"sliding_attention\""},
      {"qwen2-tiny", "{", R"({"layer_types": 3,)", "layer_types must be a list", invalid},
      {"llama-tiny", "\"llama3\"", "\"longrope\"", "rope_scaling.rope_type is \"longrope\""},
      {"llama-tiny", "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 1.0",
       "high_freq_factor must be above low_freq_factor", invalid},
      {"llama-tiny", "\"low_freq_factor\"", "\"unread\"", "rope_scaling.low_freq_factor is missing",
       invalid},
      {"llama-tiny", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
       "num_key_value_heads is 4, which does not divide num_attention_heads 6", invalid},
      {"llama-tiny", "\"head_dim\": 32", "\"head_dim\": 31", "head_dim is 31", invalid},
      {"llama-tiny", "\"head_dim\": 32", "\"head_dim\": 512", "head_dim is 512"},
      {"deepseek-coder-like", "\"hidden_size\": 160", "\"hidden_size\": 161",
       "num_attention_heads is 5, which does not divide hidden_size 161", invalid},
      {"llama-tiny", "{", R"({"partial_rotary_factor": 0.5,)", "partial_rotary_factor is not 1"},
      {"llama-tiny", "{", R"({"quantization_config": {"quant_method": "gptq"},)",
       "quantization_config.quant_method is \"gptq\""},
  };
  for (const Refusal& r : all) {
    const auto got = parse(r.golden, r.from, r.to);
    ASSERT_FALSE(got.ok()) << r.says;
    EXPECT_THAT(got.error().message, HasSubstr(r.says));
    EXPECT_EQ(got.error().code, r.code) << r.says;
  }
}

}  // namespace
}  // namespace fathom
