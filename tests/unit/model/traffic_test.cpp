// Is the floor counted right? Against the golden checkpoints' tensors, added up by hand.
#include "model/traffic.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

const std::string kData = FATHOM_SOURCE_DIR "/tests/golden/data/";

Traffic traffic_of(const std::string& name) {
  auto config = read_model_config(kData + name);
  auto checkpoint = Checkpoint::open(kData + name);
  EXPECT_TRUE(config.ok() && checkpoint.ok());
  const KvLayout layout{.block_tokens = 64, .block_bytes = 6400};
  return model_traffic(checkpoint.value(), config.value(), layout);
}

TEST(Traffic, one_row_reads_all_but_the_experts_it_does_not_choose) {
  const Traffic t = traffic_of("v3-tiny-bf16");
  ASSERT_GT(t.experts, t.chosen);
  const double share = static_cast<double>(t.chosen) / t.experts;
  EXPECT_DOUBLE_EQ(t.step_bytes(1, 0), t.always_bytes + t.experts_bytes * share);
}

TEST(Traffic, many_rows_meet_every_expert_and_no_more) {
  const Traffic t = traffic_of("v3-tiny-bf16");
  EXPECT_NEAR(t.step_bytes(4096, 0), t.always_bytes + t.experts_bytes, 1.0);
  EXPECT_LT(t.step_bytes(8, 0), t.always_bytes + t.experts_bytes);
}

TEST(Traffic, each_cached_position_is_read_once_a_step) {
  const Traffic t = traffic_of("v3-tiny-bf16");
  EXPECT_DOUBLE_EQ(t.kv_bytes, 100);
  EXPECT_NEAR(t.step_bytes(2, 10) - t.step_bytes(2, 0), 2 * 10 * 100, 1e-6);
}

TEST(Traffic, every_byte_of_the_checkpoint_is_embedding_or_counted) {
  const auto checkpoint = Checkpoint::open(kData + "v3-tiny-fp8");
  ASSERT_TRUE(checkpoint.ok());
  double all = 0, embedding = 0;
  for (const auto& tensor : checkpoint.value().tensors()) {
    all += static_cast<double>(tensor.bytes.size());
    if (tensor.name == "model.embed_tokens.weight")
      embedding = static_cast<double>(tensor.bytes.size());
  }
  const Traffic t = traffic_of("v3-tiny-fp8");
  EXPECT_DOUBLE_EQ(t.always_bytes + t.experts_bytes, all - embedding);
}

TEST(Traffic, layers_of_multi_token_prediction_are_not_part_of_a_plain_step) {
  const auto checkpoint = Checkpoint::open(kData + "v3-tiny-mtp");
  ASSERT_TRUE(checkpoint.ok());
  double all = 0;
  for (const auto& tensor : checkpoint.value().tensors())
    all += static_cast<double>(tensor.bytes.size());
  const Traffic t = traffic_of("v3-tiny-mtp");
  const auto* layer = checkpoint.value().find("model.layers.3.eh_proj.weight");
  EXPECT_TRUE(layer != nullptr);
  EXPECT_LT(t.always_bytes + t.experts_bytes, all);
}

TEST(Traffic, a_prompt_costs_its_rows_one_head_and_its_triangle_of_pairs) {
  const Traffic t = traffic_of("v3-tiny-bf16");
  const double row = t.row_products + t.expert_products;
  EXPECT_DOUBLE_EQ(t.prompt_flops(1), 2 * (row + t.head_products + t.pair_products));
  EXPECT_DOUBLE_EQ(t.prompt_flops(3), 2 * (3 * row + t.head_products + 6 * t.pair_products));
}

}  // namespace
}  // namespace fathom
