// Who gets large chunks? A prompt beside which nobody waits, and only as long as that is so. What
// is drawn does not depend on it.
#include <gmock/gmock.h>

#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::expected;
using stage::Node;
using stage::prefill;
using stage::prompt_of;
using ::testing::ElementsAre;

constexpr SeqId kA{1}, kB{2}, kC{3};

struct LongPromptStory : ::testing::Test {
  stage::Wire wire;
  Node node{wire,
            {.rows_max = 8, .step_token_budget = 16, .prompt_token_budget = 64},
            stage::small_engine()};
  static Sampling one(int32_t max_tokens) { return {.temperature = 0, .max_tokens = max_tokens}; }
  // Prompt tokens of every step that had some.
  std::vector<int32_t> chunks() const {
    std::vector<int32_t> all;
    for (const Report& report : node.reports)
      if (report.prefill_tokens > 0) all.push_back(report.prefill_tokens);
    return all;
  }
  void TearDown() override { node.end(); }
};

TEST_F(LongPromptStory, a_prompt_alone_is_computed_in_large_chunks) {
  const auto prompt = prompt_of(150);
  node.say({prefill(kA, prompt, 3, one(3))});
  node.settle();
  EXPECT_THAT(chunks(), ElementsAre(64, 64, 22));
  EXPECT_EQ(node.tokens_of(kA), expected(node.fake, prompt, one(3), 3));
}

TEST_F(LongPromptStory, who_decodes_waits_for_a_step_of_the_usual_size_only) {
  node.say({prefill(kA, prompt_of(4), 100, one(100))});
  node.loop.turn();
  node.reports.clear();
  node.say({prefill(kB, prompt_of(150, 100), 1, one(1))});
  for (int i = 0; i < 4; ++i) node.loop.turn();
  EXPECT_THAT(chunks(), ElementsAre(15, 15, 15, 15));
  EXPECT_EQ(node.tokens_of(kA).size(), 4u) << "a token in every step";
  node.say({Drop{.seq = kA}});
  node.settle();
  EXPECT_THAT(chunks(), ElementsAre(15, 15, 15, 15, 64, 26)) << "and then nobody does";
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, prompt_of(150, 100), one(1), 1));
}

TEST_F(LongPromptStory, a_request_that_comes_meanwhile_waits_for_one_large_step) {
  node.say({prefill(kA, prompt_of(200), 1, one(1))});
  node.loop.turn();
  node.say({prefill(kB, prompt_of(5, 100), 2, one(2))});
  node.loop.turn();
  EXPECT_THAT(chunks(), ElementsAre(64, 16));
  node.settle();
  EXPECT_EQ(node.tokens_of(kB), expected(node.fake, prompt_of(5, 100), one(2), 2));
}

TEST_F(LongPromptStory, one_that_may_decode_at_any_moment_counts_as_decoding) {
  node.say({prefill(kA, prompt_of(4), 1, one(9))});
  node.settle();
  node.reports.clear();
  node.say({prefill(kB, prompt_of(40, 100), 1, one(1))});
  node.loop.turn();
  EXPECT_THAT(chunks(), ElementsAre(16)) << "its lease is spent, a renewal may come";
}

TEST_F(LongPromptStory, a_handoff_that_is_computed_waits_for_nothing) {
  Prefill handoff = prefill(kA, prompt_of(4), 1, one(9));
  handoff.handoff = true;
  handoff.key = 1;
  node.say({handoff});
  node.settle();
  node.reports.clear();
  node.say({prefill(kB, prompt_of(40, 100), 1, one(1))});
  node.loop.turn();
  EXPECT_THAT(chunks(), ElementsAre(40));
  EXPECT_LT(node.free_blocks(), node.fake.blocks) << "it is still held";
}

TEST_F(LongPromptStory, a_router_that_names_a_larger_step_gets_it) {
  ASSERT_TRUE(node.loop.on_hello({.epoch = 10, .step_token_budget = 100}).ok());
  node.say({prefill(kC, prompt_of(150), 1, one(1))});
  node.settle();
  EXPECT_THAT(chunks(), ElementsAre(100, 50));
}

}  // namespace
}  // namespace fathom
