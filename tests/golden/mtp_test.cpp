// Does the multi-token-prediction module guess what the reference's guesses, and does decoding with
// it give the very bits of decoding without? Its logits are held to the same tolerance as the
// model's; tokens and logits of speculative streams are compared bit for bit.
#include <gtest/gtest.h>

#include <mutex>
#include <numeric>
#include <thread>

#include "engine/model_ranks.h"
#include "generation.h"
#include "golden_case.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

constexpr double kMaxAbs = 2e-3, kRelRms = 1e-4;
constexpr int32_t kBlockTokens = 16, kBlocks = 400;

TpEngineConfig config_for(const GoldenCase& c, int32_t tensor_parallel = 1) {
  return {.model_dir = c.dir,
          .tensor_parallel = tensor_parallel,
          .block_tokens = kBlockTokens,
          .kv_blocks = kBlocks,
          .speculative_tokens = 3};
}

// The ranks of one process without an engine around them, for one sequence on blocks 0, 1, 2...
class Module {
 public:
  explicit Module(const TpEngineConfig& config) {
    ranks_ = ModelRanks::load(config, {}).value();
    ranks_->attach(connect_group(config, ranks_->digest()).value());
    CHECK(ranks_->start(kBlocks).ok());
    blocks_.resize(32);
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  void forward(std::span<const TokenId> tokens, int32_t position, int32_t prompt_tokens) {
    lay_out(tokens, position, prompt_tokens);
    run([&](int32_t local, const LogitsSink& sink) {
      return ranks_->forward(local, batch_, sink);
    });
  }
  // Logits of every row: tokens[i] is the one after position + i, which continues row from + i.
  std::vector<std::vector<float>> draft(std::span<const TokenId> tokens, int32_t position,
                                        int32_t prompt_tokens, int32_t from) {
    lay_out(tokens, position, prompt_tokens);
    std::vector<int32_t> rows(tokens.size());
    std::iota(rows.begin(), rows.end(), from);
    for (int32_t r = 0; r < batch_.rows(); ++r) batch_.want_logits(r);
    run([&](int32_t local, const LogitsSink& sink) {
      return ranks_->draft(local, batch_, rows, sink);
    });
    return std::move(logits_);
  }

 private:
  void lay_out(std::span<const TokenId> tokens, int32_t position, int32_t prompt_tokens) {
    batch_.clear();
    batch_.add({tokens, position, prompt_tokens, blocks_}, {.block_tokens = kBlockTokens});
  }
  void run(const std::function<Status(int32_t, const LogitsSink&)>& step) {
    logits_.clear();
    const LogitsSink sink = [&](int32_t, std::span<const float> logits, int32_t rows) -> Status {
      const size_t vocab = logits.size() / static_cast<size_t>(rows);
      for (size_t t = 0; t < static_cast<size_t>(rows); ++t) {
        logits_.emplace_back(vocab);
        CHECK(ranks_->device(0)
                  .download(logits_.back().data(), logits.data() + t * vocab, vocab * sizeof(float))
                  .ok());
      }
      return {};
    };
    ranks_->threads().run([&](int32_t local) { CHECK(step(local, sink).ok()); });
  }

  std::unique_ptr<ModelRanks> ranks_;
  std::vector<BlockIndex> blocks_;
  Batch batch_;
  std::vector<std::vector<float>> logits_;
};

// The prompt with its drafts, chunk by chunk; the last row is about the second token drawn.
void check_prompt(Module& module, const GoldenPrompt& p, const GoldenDrafts& want, int32_t chunk,
                  LogitError& error) {
  const auto length = static_cast<int32_t>(p.tokens.size());
  std::vector<TokenId> all = p.tokens;
  all.push_back(p.greedy[0]);
  int32_t rows = 0;
  for (int32_t at = 0; at < length; at += chunk) {
    rows = std::min(chunk, length - at);
    const auto part = std::span(all).subspan(static_cast<size_t>(at));
    module.forward(part.first(static_cast<size_t>(rows)), at, length);
    const auto got = module.draft(part.subspan(1, static_cast<size_t>(rows)), at, length, 0);
    for (size_t k = 0; k < want.positions.size(); ++k)
      if (want.positions[k] >= at && want.positions[k] < at + rows)
        error.add(got[static_cast<size_t>(want.positions[k] - at)], want.logits[k]);
    if (at + rows == length) error.add(got.back(), want.greedy_logits[0]);
  }
  for (size_t k = 1; k < want.chain.size(); ++k) {
    const auto got =
        module.draft(std::span(&want.chain[k - 1], 1), length + static_cast<int32_t>(k) - 1, length,
                     k == 1 ? rows - 1 : 0);
    error.add(got[0], want.chain_logits[k]);
    EXPECT_EQ(argmax(got[0]), static_cast<size_t>(want.chain[k]));
  }
}

// On "cpu" or "cuda".
class Mtp : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (on_gpu() && cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
  }
  static bool on_gpu() { return std::string_view(GetParam()) == "cuda"; }
  static TpEngineConfig config(const GoldenCase& c, int32_t tensor_parallel = 1) {
    TpEngineConfig out = config_for(c, tensor_parallel);
    out.device.cuda = on_gpu();
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(on, Mtp, ::testing::Values("cpu", "cuda"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(Mtp, every_logit_of_the_module_is_the_references) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  const auto drafts = load_golden_drafts(c);
  for (const int32_t ranks : {1, 2}) {
    Module module(config(c, ranks));
    LogitError error;
    for (size_t i = 0; i < c.prompts.size(); ++i) {
      const GoldenPrompt& p = c.prompts[i];
      const auto length = static_cast<int32_t>(p.tokens.size());
      check_prompt(module, p, drafts[i], 33, error);
      // Token by token, over what the chained guesses left in the module's cache.
      for (size_t s = 1; s < p.greedy.size(); ++s) {
        const int32_t position = length + static_cast<int32_t>(s) - 1;
        module.forward(std::span(&p.greedy[s - 1], 1), position, length);
        const auto got = module.draft(std::span(&p.greedy[s], 1), position, length, 0);
        error.add(got[0], drafts[i].greedy_logits[s]);
      }
    }
    std::printf("mtp, %d ranks: max_abs %.1e, rel_rms %.1e\n", ranks, error.max_abs,
                error.rel_rms());
    EXPECT_LE(error.max_abs, kMaxAbs);
    EXPECT_LE(error.rel_rms(), kRelRms);
  }
}

std::vector<Request> requests_of(const GoldenCase& c, float temperature) {
  std::vector<Request> out;
  for (const auto& p : c.prompts)
    out.push_back({.tokens = p.tokens,
                   .positions = {},
                   .sampling = {.temperature = temperature, .seed = 1000 + out.size()},
                   .count = 48});
  return out;
}

// Every way a cluster may run it, on `engine`, against plain decoding there.
void expect_speculation_is_invisible(const std::string& what, EngineUnderTest& engine,
                                     EngineUnderTest* other, const GoldenCase& c) {
  for (const float temperature : {0.0f, 0.8f}) {
    const auto requests = requests_of(c, temperature);
    const auto plain = generate(engine, requests, {.together = true});
    DraftCount counted;
    for (const int32_t k : {1, 2, 3}) {
      const std::string name = what + ", " + std::to_string(k) + " drafts";
      expect_same(name, generate(engine, requests, {.drafts = k, .counted = &counted}), plain);
      expect_same(name + ", batch of mixed rows",
                  generate(engine, requests, {.chunk = 7, .together = true, .drafts = k}), plain);
      if (other == nullptr) continue;
      expect_same(name + ", moved after the prompt",
                  generate(*other, requests,
                           {.chunk = 64, .together = true, .decode_on = &engine, .drafts = k}),
                  plain);
    }
    std::printf("%s, temperature %.1f: %d of %d guesses right\n", what.c_str(), temperature,
                counted.right, counted.verified);
    EXPECT_GT(counted.right, counted.verified / 4) << "a test without right guesses shows nothing";
    EXPECT_LT(counted.right, counted.verified) << "nor does one without wrong ones";
  }
}

TEST_P(Mtp, speculative_streams_are_the_plain_ones_bit_for_bit) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  for (const int32_t ranks : {1, 2}) {
    EngineUnderTest engine(config(c, ranks)), other(config(c, ranks));
    expect_speculation_is_invisible("tensor parallel " + std::to_string(ranks), engine, &other, c);
  }
}

TEST_P(Mtp, an_engine_with_the_module_computes_what_one_without_does) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  TpEngineConfig plain = config(c);
  plain.speculative_tokens = 0;
  EngineUnderTest without(plain), with(config(c));
  EXPECT_EQ(without.engine().info().drafts_max, 0);
  EXPECT_EQ(with.engine().info().drafts_max, 3);
  EXPECT_EQ(with.engine().info().kv.layers, without.engine().info().kv.layers + 1);
  const auto requests = requests_of(c, 0);
  expect_same("with the module", generate(with, requests, {.drafts = 2}),
              generate(without, requests, {}));
}

TEST_P(Mtp, guesses_are_as_good_as_the_references) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  EngineUnderTest engine(config(c));
  DraftCount counted;
  generate(engine, requests_of(c, 0), {.drafts = 1, .counted = &counted});
  const double share = static_cast<double>(counted.right) / counted.verified;
  EXPECT_NEAR(share, 0.697, 0.1) << "what cases.json says of every position";
}

// What a block held before, even no numbers at all, costs guesses and changes nothing.
TEST_P(Mtp, a_cache_the_module_never_wrote_changes_no_token) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  EngineUnderTest engine(config(c)), other(config(c));
  const auto requests = requests_of(c, 0);
  const auto plain = generate(engine, requests, {.together = true});
  const std::vector<std::byte> garbage(static_cast<size_t>(engine.engine().info().kv.block_bytes),
                                       std::byte{0xff});  // NaN
  for (BlockIndex b = 0; b < kBlocks; ++b) {
    ASSERT_TRUE(engine.engine().import_block(b, garbage).ok());
    ASSERT_TRUE(other.engine().import_block(b, garbage).ok());
  }
  // The prompt is computed without the module, so its part of the blocks stays garbage.
  Schedule no_module_in_prompt{.together = true, .decode_on = &engine, .drafts = 2};
  no_module_in_prompt.prompt_drafts = false;
  expect_same("garbage", generate(other, requests, no_module_in_prompt), plain);
}

// Ranks of two processes: guesses and draws reach the follower, or its ranks would compute another
// batch than the leader's.
TEST(MtpGroup, two_processes_give_the_bits_of_threads) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  for (const int32_t size : {2, 4}) {
    EngineUnderTest threads(config_for(c, size));
    const auto want = generate(threads, requests_of(c, 0), {.together = true});
    TpEngineConfig leader = config_for(c, size), follower = leader;
    std::thread process;
    Status followed;
    leader.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
    leader.group.listening = [&](int port) {
      follower.group = {
          .processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
      process = std::thread([&] { followed = run_follower(follower); });
    };
    {
      EngineUnderTest engine(leader);
      const std::string name = "2 processes of " + std::to_string(size / 2) + " ranks";
      expect_speculation_is_invisible(name, engine, &threads, c);
      expect_same(name, generate(engine, requests_of(c, 0), {.drafts = 3}), want);
    }
    process.join();
    EXPECT_TRUE(followed.ok()) << followed.error().text();
  }
}

TEST(MtpGroup, a_group_that_disagrees_about_drafting_does_not_start) {
  const GoldenCase c = load_golden_case("v3-tiny-mtp");
  TpEngineConfig leader = config_for(c, 2), follower = leader;
  follower.speculative_tokens = 1;
  std::thread process;
  Status followed;
  leader.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
  leader.group.listening = [&](int port) {
    follower.group = {.processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
    process = std::thread([&] { followed = run_follower(follower); });
  };
  EXPECT_FALSE(make_tp_engine(leader).ok());
  process.join();
  ASSERT_FALSE(followed.ok());
  EXPECT_EQ(followed.error().field, "speculative_tokens");
}

TEST(MtpGroup, a_checkpoint_without_the_module_is_refused_by_name) {
  const auto refused = make_tp_engine(
      {.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16", .speculative_tokens = 1});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().field, "speculative");
  EXPECT_NE(refused.error().message.find("num_nextn_predict_layers"), std::string::npos);
}

}  // namespace
}  // namespace fathom
