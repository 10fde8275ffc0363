// Does a device compute what the references do, in every way an engine may run a model? The short
// prompts and the first tokens after them: little work, so that emulated GPUs (tests/gpu/emulator)
// do it in seconds. golden_test.cpp asks the same of everything, where there is a real one.
#include <gtest/gtest.h>

#include <algorithm>

#include "expert_ranks.h"
#include "generation.h"
#include "golden_case.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

constexpr double kMaxAbs = 2e-3, kRelRms = 1e-4;  // as golden_test.cpp
constexpr size_t kLongestPrompt = 40;
constexpr int32_t kTokens = 5;

class Brief : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    if (on_gpu() && cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
    std::erase_if(c.prompts, [](const auto& p) { return p.tokens.size() > kLongestPrompt; });
    ASSERT_GE(c.prompts.size(), 3u);
    for (const auto& p : c.prompts)
      requests.push_back({.tokens = p.tokens, .positions = p.positions, .count = kTokens});
  }
  static bool on_gpu() { return std::string_view(std::get<1>(GetParam())) == "cuda"; }
  TpEngineConfig config(int32_t tensor_parallel = 1) const {
    return {.model_dir = c.dir,
            .tensor_parallel = tensor_parallel,
            .device = {.cuda = on_gpu()},
            .block_tokens = 16,
            .kv_blocks = 64};
  }
  void expect_golden(const std::string& what, const std::vector<Generated>& got) const {
    LogitError error;
    for (size_t i = 0; i < c.prompts.size(); ++i) {
      const GoldenPrompt& want = c.prompts[i];
      for (size_t k = 0; k < want.positions.size(); ++k)
        error.add(got[i].logits.at(want.positions[k]), want.logits[k]);
      for (size_t k = 0; k < kTokens; ++k) {
        const auto position = static_cast<int32_t>(want.tokens.size() + k) - 1;
        error.add(got[i].logits.at(position), want.greedy_logits[k]);
        EXPECT_EQ(got[i].tokens.at(k), want.greedy[k]) << what << ", prompt " << i;
      }
    }
    EXPECT_LE(error.max_abs, kMaxAbs) << what;
    EXPECT_LE(error.rel_rms(), kRelRms) << what;
  }
  GoldenCase c = load_golden_case(std::get<0>(GetParam()));
  std::vector<Request> requests;
};

TEST_P(Brief, alone_batched_chunked_recorded_and_ahead_match_the_reference_and_each_other) {
  TpEngineConfig settings = config();
  settings.steps_ahead = true;
  EngineUnderTest engine(settings);
  const auto alone = generate(engine, requests, {});
  expect_golden("alone", alone);
  expect_same("in chunks of 7", generate(engine, requests, {.chunk = 7, .together = true}), alone);
  // Decoding steps of that size are recorded by now, and replayed.
  expect_same("steps ahead", generate(engine, requests, {.together = true, .ahead = true}), alone);
}

class BriefRanks : public Brief {};
TEST_P(BriefRanks, two_ranks_recorded_and_ahead_match_the_reference_and_steps_said_each_time) {
  TpEngineConfig settings = config(2);
  settings.steps_ahead = true;
  EngineUnderTest engine(settings);
  // Said, recorded, replayed, where each rank has a GPU.
  const auto together = generate(engine, requests, {.together = true});
  expect_golden("two ranks", together);
  expect_same("steps ahead", generate(engine, requests, {.together = true, .ahead = true}),
              together);
  settings.layer_tap = [](int32_t, std::string_view, std::span<const float>) {};
  EngineUnderTest watched(settings);  // and so never recorded
  expect_same("in chunks of 33, said", generate(watched, requests, {.chunk = 33, .together = true}),
              together);
}

TEST_P(Brief, products_of_bfloat16_have_the_same_bits_in_chunks_and_stay_close) {
  TpEngineConfig settings = config();
  settings.compute = Compute::bfloat16;
  EngineUnderTest engine(settings);
  const auto whole = generate(engine, requests, {.together = true});
  expect_same("in chunks of 7", generate(engine, requests, {.chunk = 7}), whole);
  std::vector<double> divergences;
  for (size_t i = 0; i < c.prompts.size(); ++i)
    for (size_t k = 0; k < c.prompts[i].positions.size(); ++k)
      divergences.push_back(
          kl_divergence(c.prompts[i].logits[k], whole[i].logits.at(c.prompts[i].positions[k])));
  std::ranges::sort(divergences);
  EXPECT_LE(divergences.at(divergences.size() / 2), 0.02);
}

class BriefExperts : public Brief {};
TEST_P(BriefExperts, divided_over_two_ranks_match_the_reference_recorded_ahead_and_said) {
  TpEngineConfig settings = config();
  settings.steps_ahead = true;
  ExpertRanks group(settings, 2);
  const auto together = group.share(requests, [](size_t) { return Schedule{.together = true}; });
  expect_golden("both ranks at once", together);
  // Decoding rounds of that size are recorded by now where each rank has a GPU, and replayed, also
  // by a rank that only assists.
  expect_same(
      "steps ahead",
      group.share(requests, [](size_t) { return Schedule{.together = true, .ahead = true}; }),
      together);
  expect_same("one rank alone", generate(group.rank(1), requests, {.chunk = 33}), together);
  settings.layer_tap = [](int32_t, std::string_view, std::span<const float>) {};
  ExpertRanks watched(settings, 2);  // and so never recorded
  expect_same("said", watched.share(requests, [](size_t) { return Schedule{.together = true}; }),
              together);
}

class BriefExpertDrafts : public Brief {};
TEST_P(BriefExpertDrafts, ranks_that_guess_differently_deep_change_no_bit) {
  TpEngineConfig settings = config();
  settings.speculative_tokens = 3;
  ExpertRanks group(settings, 2);
  const auto plain = group.share(requests, [](size_t) { return Schedule{.together = true}; });
  expect_golden("plain", plain);
  DraftCount counted[2];
  const auto drafts = [&](size_t r) {
    return Schedule{.together = true, .drafts = r == 0 ? 2 : 1, .counted = &counted[r]};
  };
  expect_same("two guesses here, one there", group.share(requests, drafts), plain);
  EXPECT_GT(counted[0].verified, 0);
  EXPECT_GT(counted[1].verified, 0);
}

class BriefDrafts : public Brief {};
TEST_P(BriefDrafts, guessing_ahead_changes_no_bit) {
  TpEngineConfig settings = config();
  settings.speculative_tokens = 3;
  EngineUnderTest engine(settings);
  const auto plain = generate(engine, requests, {.together = true});
  expect_golden("plain", plain);
  DraftCount counted;
  expect_same("two guesses",
              generate(engine, requests, {.together = true, .drafts = 2, .counted = &counted}),
              plain);
  EXPECT_GT(counted.verified, 0);
}

class BriefBytes : public Brief {};
TEST_P(BriefBytes, latents_of_8_bits_have_the_same_bits_in_chunks_and_after_a_move) {
  TpEngineConfig settings = config();
  settings.kv_dtype = DType::i8;
  settings.compute = Compute::bfloat16;
  EngineUnderTest engine(settings), other(settings);
  const auto want = generate(engine, requests, {.together = true});
  const Schedule moved{.chunk = 33, .together = true, .decode_on = &other};
  expect_same("moved", generate(engine, requests, moved), want);
}

std::string test_name(const testing::TestParamInfo<std::tuple<const char*, const char*>>& at) {
  std::string name = std::string(std::get<0>(at.param)) + "_" + std::get<1>(at.param);
  std::ranges::replace(name, '-', '_');
  return name;
}
const auto kDevices = ::testing::Values("cpu", "cuda");
INSTANTIATE_TEST_SUITE_P(all, Brief,
                         ::testing::Combine(::testing::Values("v3-tiny-bf16", "v3-tiny-fp8-k128",
                                                              "v2-like", "v2-lite-like",
                                                              "llama-tiny", "qwen2-tiny",
                                                              "deepseek-coder-like"),
                                            kDevices),
                         test_name);
INSTANTIATE_TEST_SUITE_P(all, BriefRanks,
                         ::testing::Combine(::testing::Values("v3-tiny-bf16", "v3-tiny-fp8-k128",
                                                              "v2-like", "v2-lite-like",
                                                              "llama-tiny", "qwen2-tiny"),
                                            kDevices),
                         test_name);
INSTANTIATE_TEST_SUITE_P(all, BriefExperts,
                         ::testing::Combine(::testing::Values("v3-tiny-bf16", "v2-like"), kDevices),
                         test_name);
INSTANTIATE_TEST_SUITE_P(all, BriefExpertDrafts,
                         ::testing::Combine(::testing::Values("v3-tiny-mtp"), kDevices), test_name);
INSTANTIATE_TEST_SUITE_P(all, BriefDrafts,
                         ::testing::Combine(::testing::Values("v3-tiny-mtp"), kDevices), test_name);
INSTANTIATE_TEST_SUITE_P(all, BriefBytes,
                         ::testing::Combine(::testing::Values("v3-tiny-mtp"), kDevices), test_name);

}  // namespace
}  // namespace fathom
