// Is a step of more rows than the MLP takes at a time what its rows are alone? One of 1,100 rows
// against the same prompt in steps of 300: bits of the logits of both families.
#include <gtest/gtest.h>

#include <numeric>

#include "comm/solo.h"
#include "kernels/cpu/host_device.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "model/forward.h"

namespace fathom {
namespace {

constexpr int32_t kRows = 1'100, kBlockTokens = 16, kBlocks = (kRows + 15) / 16;

class Pieces : public ::testing::TestWithParam<const char*> {
 protected:
  // Logits of rows 0, 511, 512 and the last, whichever step they were in.
  static std::vector<float> logits(int32_t step) {
    const std::string dir = FATHOM_SOURCE_DIR "/tests/golden/data/" + std::string(GetParam());
    const ModelConfig config = read_model_config(dir).value();
    const Checkpoint checkpoint = Checkpoint::open(dir).value();
    WeightReader reader(checkpoint, {});
    const ModelWeights weights = read_model_weights(config, {}, reader).value();
    const auto lanes = make_lanes(2);
    const auto scratch = make_scratch();
    const auto device = make_host_device();
    const auto comm = make_solo();
    const bool grouped = config.attention == AttentionKind::gqa;
    const int32_t width = grouped ? 2 * config.kv_heads * config.head_dim : config.latent_width();
    const auto layer = static_cast<size_t>(kBlocks * kBlockTokens) * static_cast<size_t>(width);
    std::vector<float> pool(static_cast<size_t>(config.cached_layers()) * layer);
    RankParts parts{.config = &config,
                    .ops = &cpu_ops(),
                    .context = {lanes.get(), scratch.get(), Compute::float32, device.get()},
                    .comm = comm.get()};
    for (size_t i = 0; i < static_cast<size_t>(config.cached_layers()); ++i) {
      float* base = pool.data() + i * layer;
      if (grouped)
        parts.kv_caches.push_back({.base = base,
                                   .block_stride = kBlockTokens * width,
                                   .block_tokens = kBlockTokens,
                                   .heads = config.kv_heads,
                                   .dim = config.head_dim});
      else
        parts.caches.push_back({.base = base,
                                .block_stride = kBlockTokens * width,
                                .block_tokens = kBlockTokens,
                                .rank = config.kv_rank,
                                .rope = config.rope});
    }
    const auto rank = make_model_rank(parts, weights);

    std::vector<BlockIndex> blocks(kBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::vector<TokenId> tokens(kRows);
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = static_cast<TokenId>((i * i * 31 + 7) % static_cast<size_t>(config.vocab));
    std::vector<float> out;
    for (int32_t at = 0; at < kRows; at += step) {
      const int32_t n = std::min(step, kRows - at);
      Batch batch;
      batch.add(
          {.tokens = std::span(tokens).subspan(static_cast<size_t>(at), static_cast<size_t>(n)),
           .position = at,
           .prompt_tokens = kRows,
           .blocks = blocks},
          {.block_tokens = kBlockTokens});
      for (const int32_t wanted : {0, 511, 512, kRows - 1})
        if (wanted >= at && wanted < at + n) batch.want_logits(wanted - at);
      const auto keep = [&](int32_t, std::span<const float> some, int32_t) -> Status {
        out.insert(out.end(), some.begin(), some.end());
        return {};
      };
      EXPECT_TRUE(rank->forward(batch, keep).ok());
    }
    EXPECT_EQ(out.size(), size_t{4} * static_cast<size_t>(config.vocab));
    return out;
  }
};

TEST_P(Pieces, a_long_step_has_the_bits_of_short_ones) { EXPECT_EQ(logits(kRows), logits(300)); }

INSTANTIATE_TEST_SUITE_P(Families, Pieces, ::testing::Values("v3-tiny-bf16", "llama-tiny"),
                         [](const auto& tested) {
                           return std::string(tested.param) == "llama-tiny" ? "llama" : "v3";
                         });

}  // namespace
}  // namespace fathom
