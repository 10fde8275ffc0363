// Workers with a real model: the reference's greedy tokens come out exactly, whatever the batch,
// the chunks, the ranks, and whether prompt and answer are computed by one worker, by two, or moved
// in between.
#include <boost/json.hpp>

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "engine/tp_engine.h"
#include "tests/unit/worker/stage.h"

namespace fathom {
namespace {

using stage::Node;

constexpr const char* kCheckpoint = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16";
constexpr int32_t kBlockTokens = 8;

struct Golden {
  std::vector<TokenId> prompt, greedy;
};

std::vector<Golden> golden_prompts() {
  std::ifstream in(std::string(kCheckpoint) + "/cases.json");
  std::stringstream text;
  text << in.rdbuf();
  std::vector<Golden> out;
  const auto ids = [](const boost::json::value& v) {
    return boost::json::value_to<std::vector<TokenId>>(v);
  };
  const boost::json::value cases = boost::json::parse(text.str());
  for (const auto& prompt : cases.at("prompts").as_array())
    out.push_back({ids(prompt.at("tokens")), ids(prompt.at("greedy"))});
  return out;
}

std::unique_ptr<Engine> engine(int32_t ranks) {
  auto made = make_tp_engine({.model_dir = kCheckpoint,
                              .tensor_parallel = ranks,
                              .block_tokens = kBlockTokens,
                              .kv_blocks = 512});
  CHECK(made.ok(), "the golden checkpoint loads");
  return std::move(made).value();
}

Prefill request(SeqId seq, const Golden& golden, size_t emitted, int32_t lease) {
  Prefill edit{
      .seq = seq,
      .tokens = golden.prompt,
      .prompt_tokens = static_cast<int32_t>(golden.prompt.size()),
      .sampling = {.temperature = 0, .max_tokens = static_cast<int32_t>(golden.greedy.size())},
      .lease = lease};
  edit.tokens.insert(edit.tokens.end(), golden.greedy.begin(),
                     golden.greedy.begin() + static_cast<std::ptrdiff_t>(emitted));
  edit.blocks = blocks_for(static_cast<int64_t>(edit.tokens.size()) + lease, kBlockTokens);
  return edit;
}

SeqId id(size_t index) { return SeqId{index + 1}; }

struct ModelStory : ::testing::TestWithParam<int32_t> {
  const std::vector<Golden> golden = golden_prompts();
  stage::Wire wire;
};

TEST_P(ModelStory, a_full_batch_in_awkward_chunks_gives_the_reference_tokens) {
  Node node(wire, {.step_token_budget = 23}, engine(GetParam()));
  for (size_t i = 0; i < golden.size(); ++i) node.say({request(id(i), golden[i], 0, 32)});
  node.settle();
  for (size_t i = 0; i < golden.size(); ++i)
    EXPECT_EQ(node.tokens_of(id(i)), golden[i].greedy) << i;
  EXPECT_EQ(node.leaked(), 0);
}

TEST_P(ModelStory, prompt_and_answer_on_two_workers_give_the_reference_tokens) {
  stage::Wire unused;
  Node computes(unused, {.role = Role::prefill, .instance = 5, .step_token_budget = 37},
                engine(GetParam()));
  Node home(wire, {.role = Role::decode, .step_token_budget = 64}, engine(3 - GetParam()));
  wire.peers["p:1"] = &computes.loop.source();
  for (size_t i = 0; i < golden.size(); ++i) {
    const auto length = static_cast<int32_t>(golden[i].prompt.size());
    wire.tokens = length;
    home.say({Receive{.seq = id(i),
                      .tokens = length,
                      .blocks = blocks_for(length + 32, kBlockTokens),
                      .ticket = {.address = "p:1", .instance = 5, .seq = id(i), .key = 1}}});
    home.settle();
    Prefill edit = request(id(i), golden[i], 0, 1);
    edit.handoff = true;
    edit.key = 1;
    computes.say({edit});
  }
  computes.settle();
  for (size_t i = 0; i < golden.size(); ++i) {
    const Prefill whole = request(id(i), golden[i], 1, 31);
    ASSERT_EQ(computes.tokens_of(id(i)), (std::vector<TokenId>{golden[i].greedy[0]}));
    home.say({Decode{.seq = id(i),
                     .tokens = whole.tokens,
                     .prompt_tokens = whole.prompt_tokens,
                     .sampling = whole.sampling,
                     .lease = 31}});
  }
  home.settle();
  for (size_t i = 0; i < golden.size(); ++i)
    EXPECT_EQ(home.tokens_of(id(i)),
              std::vector<TokenId>(golden[i].greedy.begin() + 1, golden[i].greedy.end()))
        << i;
}

TEST_P(ModelStory, a_request_computed_again_in_the_middle_goes_on_with_the_reference_tokens) {
  Node node(wire, {.step_token_budget = 50}, engine(GetParam()));
  for (size_t i = 0; i < golden.size(); ++i) node.say({request(id(i), golden[i], 13, 19)});
  node.settle();
  for (size_t i = 0; i < golden.size(); ++i)
    EXPECT_EQ(node.tokens_of(id(i)),
              std::vector<TokenId>(golden[i].greedy.begin() + 13, golden[i].greedy.end()))
        << i;
}

// Logits and not only tokens: whatever the cache supplied, the same bits.
TEST_P(ModelStory, a_cached_prefix_gives_the_same_bits_as_computing_it) {
  std::map<int32_t, std::vector<std::vector<float>>> seen;  // by pass
  int32_t pass = 0;
  auto made = make_tp_engine({.model_dir = kCheckpoint,
                              .tensor_parallel = GetParam(),
                              .block_tokens = kBlockTokens,
                              .kv_blocks = 512,
                              .logits_tap = [&](int32_t, int32_t, std::span<const float> logits) {
                                seen[pass].emplace_back(logits.begin(), logits.end());
                              }});
  ASSERT_TRUE(made.ok());
  Node node(wire, {.step_token_budget = 23}, std::move(made).value());
  const double none = node.metrics.prefix_cache_hits.Value();
  for (; pass < 2; ++pass)
    for (size_t i = 0; i < golden.size(); ++i) {
      const SeqId seq = id(i + 100 * static_cast<size_t>(pass));
      node.say({request(seq, golden[i], 0, 4)});
      node.settle();
      node.say({Drop{.seq = seq}});
      node.settle();
      EXPECT_EQ(node.tokens_of(seq),
                std::vector<TokenId>(golden[i].greedy.begin(), golden[i].greedy.begin() + 4));
    }
  EXPECT_GT(node.metrics.prefix_cache_hits.Value(), none);
  ASSERT_EQ(seen[0].size(), seen[1].size());
  for (size_t i = 0; i < seen[0].size(); ++i) ASSERT_EQ(seen[0][i], seen[1][i]) << "row " << i;
}

// What a node tells of one request: tokens with their log-probabilities, and how it ended.
struct Told {
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;
  Finish finish = Finish::none;
  bool operator==(const Told&) const = default;
};

Told told_of(const Node& node, SeqId seq) {
  Told out{.tokens = node.tokens_of(seq), .logprobs = {}, .finish = node.finish_of(seq)};
  for (const Report& report : node.reports)
    for (const Row& row : report.rows)
      if (row.seq == seq)
        out.logprobs.insert(out.logprobs.end(), row.logprobs.begin(), row.logprobs.end());
  return out;
}

// Everything that makes a draw depend on the draws before it, or ends a sequence between guesses.
std::vector<Prefill> demanding_requests() {
  std::vector<Prefill> out;
  for (int32_t i = 0; i < 12; ++i) {
    Prefill edit{.seq = id(static_cast<size_t>(i)), .prompt_tokens = 3 + 11 * i, .lease = 70};
    for (int32_t k = 0; k < edit.prompt_tokens; ++k)
      edit.tokens.push_back((k * 37 + i * 101 + 11) % 512);
    Sampling& s = edit.sampling;
    s = {.temperature = i % 3 == 0 ? 0.0f : 0.8f, .seed = 77u + static_cast<uint64_t>(i)};
    s.max_tokens = 60 + i % 4;
    s.logprobs = i % 2 == 0 ? 3 : -1;
    if (i % 4 == 1) s.repetition_penalty = 1.3f;
    if (i % 4 == 2) s.frequency_penalty = 0.4f;
    if (i % 4 == 3) s.presence_penalty = 0.7f;
    if (i >= 6) {
      for (TokenId t = 5 * i; t < 5 * i + 20; ++t) s.stop_tokens.push_back(t);
      s.min_tokens = 10 + i;
    }
    edit.blocks = blocks_for(edit.prompt_tokens + edit.lease, kBlockTokens);
    out.push_back(std::move(edit));
  }
  return out;
}

TEST_P(ModelStory, guessing_ahead_shows_in_nothing_that_is_told) {
  const auto run = [&](int32_t drafts, double& right) {
    auto made = make_tp_engine({.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-mtp",
                                .tensor_parallel = GetParam(),
                                .block_tokens = kBlockTokens,
                                .kv_blocks = 512,
                                .speculative_tokens = drafts});
    CHECK(made.ok(), "the golden checkpoint loads");
    Node node(wire, {.step_token_budget = 40, .speculative_tokens = drafts},
              std::move(made).value());
    // The clock stands still, so steps cost alike and guesses always pay.
    for (Prefill& edit : demanding_requests()) {
      node.say({std::move(edit)});
      node.loop.turn();
    }
    node.settle();
    // Once more, over what the prefix cache kept: of the module's KV too.
    for (Prefill& edit : demanding_requests()) {
      edit.seq.value += 100;
      node.say({std::move(edit)});
    }
    node.settle();
    for (size_t i = 0; i < 12; ++i)
      EXPECT_EQ(told_of(node, id(i)) == told_of(node, id(i + 100)), true) << i;
    right = node.metrics.accepted_draft_tokens.Value();
    EXPECT_EQ(node.leaked(), 0);
    std::vector<Told> out;
    for (size_t i = 0; i < 12; ++i) out.push_back(told_of(node, id(i)));
    return out;
  };
  double right = 0;
  const auto plain = run(0, right);
  EXPECT_EQ(right, 0);
  const auto stopped = std::ranges::count(plain, Finish::stop, &Told::finish);
  EXPECT_GT(stopped, 2) << "stop tokens must be met for the test to show anything";
  for (const int32_t drafts : {1, 3}) {
    const auto got = run(drafts, right);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i] == plain[i], true) << i;
    EXPECT_GT(right, 50) << "of several hundred tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ModelStory, ::testing::Values(1, 2));

}  // namespace
}  // namespace fathom
