// Does a config that can not be served say which key is wrong?
#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace fathom {
namespace {

using ::testing::HasSubstr;

std::string golden() {
  return read_text_file(FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-fp8/config.json").value();
}

// The golden config with the first value of `key` replaced; without it when `value` is empty.
std::string with(const std::string& key, const std::string& value) {
  std::string text = golden();
  const size_t at = text.find("\"" + key + "\":");
  CHECK(at != std::string::npos, key);
  const size_t end = text.find_first_of(",\n}", text.find(':', at));
  const size_t comma = text.find(',', at);
  if (value.empty()) return text.erase(at, comma - at + 1);
  return text.replace(at, end - at, "\"" + key + "\": " + value);
}

// Its scaling under a key nobody reads, and `instead` in its place.
std::string scaling_becomes(const std::string& instead) {
  std::string text = golden();
  const std::string key = "\"rope_scaling\"";
  return text.replace(text.find(key), key.size(), instead + ", \"unread\"");
}

TEST(ModelConfig, golden_checkpoints_are_read) {
  for (const char* name : {"v3-tiny-bf16", "v3-tiny-fp8", "v3-tiny-fp8-k128", "v3-tiny-mtp",
                           "v3-tiny-negbias", "v3-longctx", "v2-like", "v2-lite-like", "llama-tiny",
                           "llama-tiny-tied", "qwen2-tiny", "deepseek-coder-like"}) {
    const auto c = read_model_config(std::string(FATHOM_SOURCE_DIR "/tests/golden/data/") + name);
    ASSERT_TRUE(c.ok()) << c.error().text();
  }
  const auto c = parse_model_config(golden(), "config.json").value();
  EXPECT_EQ(c.heads, 3);
  EXPECT_EQ(c.kv_rank, 128);
  EXPECT_EQ(c.scaling.kind, RopeScaling::Kind::yarn);
  EXPECT_FALSE(c.moe(0));
  EXPECT_TRUE(c.moe(1));
}

TEST(ModelConfig, q_lora_rank_and_groups_may_be_null) {
  EXPECT_EQ(parse_model_config(with("q_lora_rank", "null"), "c").value().q_rank, 0);
  const auto c = parse_model_config(scaling_becomes("\"rope_scaling\": null"), "c");
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->scaling.kind, RopeScaling::Kind::none);
}

TEST(ModelConfig, newer_files_hold_rope_in_one_object) {
  const auto c = parse_model_config(
      scaling_becomes(R"("rope_parameters": {"rope_type": "default", "rope_theta": 500.0})"), "c");
  ASSERT_TRUE(c.ok()) << c.error().text();
  EXPECT_EQ(c->rope_theta, 500);
  EXPECT_EQ(c->scaling.kind, RopeScaling::Kind::none);
}

struct Wrong {
  std::string key, value, says;
  Code code = Code::invalid_argument;
};

TEST(ModelConfig, every_wrong_value_is_named) {
  const std::vector<Wrong> all = {
      {"num_attention_heads", "0", "num_attention_heads is 0"},
      {"num_attention_heads", "-4", "num_attention_heads"},
      {"num_attention_heads", "\"four\"", "num_attention_heads must be a number"},
      {"num_attention_heads", "2.5", "num_attention_heads must be a whole number"},
      {"num_attention_heads", "", "num_attention_heads is missing"},
      {"hidden_size", "", "hidden_size is missing"},
      {"hidden_size", "1e30", "hidden_size"},
      {"hidden_size", "null", "hidden_size is missing"},
      {"vocab_size", "0", "vocab_size"},
      {"kv_lora_rank", "0", "kv_lora_rank"},
      {"qk_rope_head_dim", "31", "qk_rope_head_dim must be even"},
      {"num_hidden_layers", "0", "num_hidden_layers"},
      {"n_group", "3", "n_group is 3, which does not divide n_routed_experts 8"},
      {"n_group", "8", "n_group leaves one expert a group"},
      {"topk_group", "3", "topk_group is 3"},
      {"num_experts_per_tok", "5", "num_experts_per_tok is 5, but the kept groups hold 4"},
      {"rms_norm_eps", "0", "rms_norm_eps"},
      {"rope_theta", "", "rope_theta is missing"},
      {"factor", "-1", "rope_scaling.factor"},
      {"original_max_position_embeddings", "",
       "rope_scaling.original_max_position_embeddings is missing"},
      {"type", "\"dynamic\"", "rope_scaling.type is \"dynamic\"", Code::unimplemented},
      {"quant_method", "\"awq\"", "quantization_config.quant_method is \"awq\"",
       Code::unimplemented},
      {"fmt", "\"e5m2\"", "quantization_config.fmt", Code::unimplemented},
      {"hidden_act", "\"gelu\"", "hidden_act is \"gelu\"", Code::unimplemented},
      {"scoring_func", "\"softmax\"", "scoring_func", Code::unimplemented},
      {"attention_bias", "3", "attention_bias must be true or false"},
      {"model_type", "\"mamba\"",
       "\"mamba\" is not served; served: deepseek_v2, deepseek_v3, llama, qwen2",
       Code::unimplemented},
      {"model_type", "", "model_type is missing"},
  };
  for (const Wrong& w : all) {
    const auto got = parse_model_config(with(w.key, w.value), "dir/config.json");
    ASSERT_FALSE(got.ok()) << w.key << " " << w.value;
    EXPECT_THAT(got.error().message, HasSubstr(w.says));
    EXPECT_THAT(got.error().field, HasSubstr("dir/config.json"));
    EXPECT_EQ(got.error().code, w.code) << w.key << " " << w.value;
  }
}

TEST(ModelConfig, a_file_that_is_no_json_object_is_named) {
  for (const char* text : {"", "{", "[]", "null", "\xff"})
    EXPECT_EQ(parse_model_config(text, "dir/config.json").error().field, "dir/config.json");
  EXPECT_EQ(read_model_config("/nowhere").error().field, "/nowhere/config.json");
}

}  // namespace
}  // namespace fathom
