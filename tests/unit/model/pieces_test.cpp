// Is a step of more rows than the MLP takes at a time what its rows are alone? One of 1,100 rows
// against the same prompt in steps of 300: bits of the logits of both families.
#include <gtest/gtest.h>

#include <numeric>

#include "tests/unit/model/tiny_model.h"

namespace fathom {
namespace {

constexpr int32_t kRows = 1'100;
constexpr int32_t kBlockTokens = TinyModel::kBlockTokens;
constexpr int32_t kBlocks = (kRows + kBlockTokens - 1) / kBlockTokens;

class Pieces : public ::testing::TestWithParam<const char*> {
 protected:
  // Logits of rows 0, 511, 512 and the last, whichever step they were in.
  static std::vector<float> logits(int32_t step) {
    TinyModel model(GetParam(), kBlocks);

    std::vector<BlockIndex> blocks(kBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::vector<TokenId> tokens(kRows);
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = static_cast<TokenId>((i * i * 31 + 7) % static_cast<size_t>(model.config.vocab));
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
      EXPECT_TRUE(model.rank->forward(batch, keep).ok());
    }
    EXPECT_EQ(out.size(), size_t{4} * static_cast<size_t>(model.config.vocab));
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
