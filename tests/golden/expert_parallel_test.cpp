// Does the second layout compute what the references compute? Engines that divide the experts give
// the very bits of one engine that has them all: for any number of them, whichever holds a
// sequence, whatever the others do meanwhile, with drafts and without.
#include <gtest/gtest.h>

#include <algorithm>

#include "expert_ranks.h"
#include "generation.h"
#include "golden_case.h"
#include "kernels/cuda/device.h"
#include "model/shard.h"

namespace fathom {
namespace {

constexpr double kMaxAbs = 2e-3, kRelRms = 1e-4;

void expect_golden(const GoldenCase& c, const std::vector<Generated>& got) {
  LogitError error;
  for (size_t i = 0; i < c.prompts.size(); ++i) {
    const GoldenPrompt& want = c.prompts[i];
    for (size_t k = 0; k < want.positions.size(); ++k)
      error.add(got[i].logits.at(want.positions[k]), want.logits[k]);
    EXPECT_EQ(got[i].tokens, want.greedy) << c.name << ", prompt " << i;
  }
  EXPECT_LE(error.max_abs, kMaxAbs) << c.name;
  EXPECT_LE(error.rel_rms(), kRelRms) << c.name;
}

class ExpertParallel : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    if (on_gpu() && cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
    for (const auto& p : c.prompts)
      requests.push_back({.tokens = p.tokens, .positions = p.positions});
  }
  static bool on_gpu() { return std::string_view(std::get<1>(GetParam())) == "cuda"; }
  TpEngineConfig config() const {
    TpEngineConfig out{.model_dir = c.dir, .block_tokens = 16, .kv_blocks = 400};
    out.device.cuda = on_gpu();
    return out;
  }
  GoldenCase c = load_golden_case(std::get<0>(GetParam()));
  std::vector<Request> requests;
};

TEST_P(ExpertParallel, every_division_gives_the_bits_of_one_engine_whoever_computes_beside) {
  EngineUnderTest one(config());
  const auto whole = generate(one, requests, {.together = true});
  for (const int32_t ranks : {2, 4}) {
    ASSERT_TRUE(check_experts_divide(read_model_config(c.dir).value(), ranks).ok());
    TpEngineConfig settings = config();
    settings.steps_ahead = true;
    ExpertRanks group(settings, ranks);
    const std::string name = std::to_string(ranks) + " ranks";
    const auto alone = generate(group.rank(1), requests, {});
    expect_golden(c, alone);
    const auto together = group.share(requests, [](size_t) { return Schedule{.together = true}; });
    expect_same(name + ", all at once", together, alone);
    const auto ahead =
        group.share(requests, [](size_t r) { return Schedule{.together = true, .ahead = r != 1}; });
    expect_same(name + ", steps ahead on some", ahead, alone);
    // One after the other here, side by side there, in chunks of different sizes.
    const auto mixed = group.share(requests, [](size_t r) {
      return Schedule{.chunk = r % 2 == 0 ? 33 : 1 << 20, .together = r % 2 == 0};
    });
    expect_same(name + ", each in its own way", mixed, alone);
    // On GPUs parts are summed rank by rank: right, but not in the order of one engine.
    if (!on_gpu()) expect_same(name + " and one engine", alone, whole);
  }
}

TEST_P(ExpertParallel, sequences_move_between_ranks_and_to_engines_of_another_layout) {
  EngineUnderTest one(config());
  ExpertRanks group(config(), 2);
  const auto moved = generate(group.rank(0), requests,
                              {.chunk = 64, .together = true, .decode_on = &group.rank(1)});
  expect_golden(c, moved);
  expect_same("from rank to rank", moved, generate(group.rank(0), requests, {}));
  const auto left = generate(group.rank(0), requests, {.together = true, .decode_on = &one});
  expect_golden(c, left);
  if (!on_gpu()) expect_same("to a whole engine", left, moved);
}

std::string test_name(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(all, ExpertParallel,
                         ::testing::Combine(::testing::Values("v3-tiny-bf16", "v3-tiny-fp8",
                                                              "v3-tiny-negbias", "v2-like",
                                                              "v2-lite-like"),
                                            ::testing::Values("cpu", "cuda")),
                         [](const auto& instance) {
                           return test_name(std::string(std::get<0>(instance.param)) + "_" +
                                            std::get<1>(instance.param));
                         });

TEST(ExpertParallelBf16, products_of_bfloat16_give_the_bits_of_one_engine_too) {
  const GoldenCase c = load_golden_case("v3-tiny-fp8");
  std::vector<Request> requests;
  for (const auto& p : c.prompts) requests.push_back({.tokens = p.tokens, .positions = {}});
  const TpEngineConfig config{
      .model_dir = c.dir, .compute = Compute::bfloat16, .block_tokens = 16, .kv_blocks = 400};
  EngineUnderTest one(config);
  ExpertRanks group(config, 2);
  expect_same("bfloat16", group.share(requests, [](size_t) { return Schedule{.together = true}; }),
              generate(one, requests, {.together = true}));
}

// Ranks that draft differently deep, or not at all, still meet in every pass.
TEST(ExpertParallelMtp, drafts_of_different_depth_on_each_rank_change_no_bit) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  TpEngineConfig config{
      .model_dir = c.dir, .block_tokens = 16, .kv_blocks = 400, .speculative_tokens = 3};
  std::vector<Request> requests;
  for (const auto& p : c.prompts)
    requests.push_back({.tokens = p.tokens,
                        .positions = {},
                        .sampling = {.temperature = 0.8f, .seed = 1000 + requests.size()},
                        .count = 48});
  EngineUnderTest one(config);
  DraftCount whole, parts[2];
  const auto want = generate(one, requests, {.drafts = 3, .counted = &whole});
  for (const int32_t other : {0, 1, 3}) {
    ExpertRanks group(config, 2);
    parts[0] = parts[1] = {};
    const auto got = group.share(requests, [&](size_t r) {
      return Schedule{.together = true, .drafts = r == 0 ? 3 : other, .counted = &parts[r]};
    });
    expect_same("other rank drafts " + std::to_string(other), got, want);
    EXPECT_GT(parts[0].right, 0);
    EXPECT_EQ(parts[1].verified > 0, other > 0);
    if (other != 3) continue;
    EXPECT_EQ(parts[0].right + parts[1].right, whole.right) << "guesses are the same too";
  }
}

}  // namespace
}  // namespace fathom
