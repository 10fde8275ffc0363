// Does the engine compute what the reference implementations compute? Every checkpoint of the
// golden data, in every way a cluster may run it: float32 logits within the measured noise, all
// greedy tokens exact, and the same bits however the work was cut, batched or moved.
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <thread>

#include "generation.h"
#include "golden_case.h"
#include "kernels/cpu/table.h"
#include "kernels/cuda/device.h"
#include "model/shard.h"

namespace fathom {
namespace {

constexpr double kMaxAbs = 2e-3, kRelRms = 1e-4;  // 20 times the noise between the references

const char* const kCases[] = {"v3-tiny-bf16",    "v3-tiny-fp8",     "v3-tiny-fp8-k128",
                              "v3-tiny-mtp",     "v3-tiny-negbias", "v3-longctx",
                              "v2-like",         "v2-lite-like",    "llama-tiny",
                              "llama-tiny-tied", "qwen2-tiny",      "deepseek-coder-like"};

TpEngineConfig config_for(const GoldenCase& c, int32_t tensor_parallel = 1) {
  return {
      .model_dir = c.dir, .tensor_parallel = tensor_parallel, .block_tokens = 16, .kv_blocks = 400};
}

std::vector<Request> requests_of(const GoldenCase& c) {
  std::vector<Request> out;
  for (const auto& p : c.prompts) out.push_back({.tokens = p.tokens, .positions = p.positions});
  return out;
}

struct Line {
  std::string golden, configuration;
  LogitError error;
  int32_t exact = 0, tokens = 0;
};

// Collected over all tests of this program and printed at its end, for docs/engine.md.
class Table : public ::testing::Environment {
 public:
  void TearDown() override {
    if (lines.empty()) return;
    std::printf(
        "\n| case | configuration | max_abs | rel_rms | greedy exact |\n|---|---|---|---|---|\n");
    for (const Line& l : lines)
      std::printf("| %s | %s | %.1e | %.1e | %d/%d |\n", l.golden.c_str(), l.configuration.c_str(),
                  l.error.max_abs, l.error.rel_rms(), l.exact, l.tokens);
    for (const auto& note : notes) std::printf("%s\n", note.c_str());
  }
  std::vector<Line> lines;
  std::vector<std::string> notes;
};
Table* const table = static_cast<Table*>(::testing::AddGlobalTestEnvironment(new Table));

Line measure(const GoldenCase& c, const std::string& configuration,
             const std::vector<Generated>& got) {
  Line row{.golden = c.name, .configuration = configuration, .error = {}};
  for (size_t i = 0; i < c.prompts.size(); ++i) {
    const GoldenPrompt& want = c.prompts[i];
    for (size_t k = 0; k < want.positions.size(); ++k)
      row.error.add(got[i].logits.at(want.positions[k]), want.logits[k]);
    for (size_t k = 0; k < want.greedy.size(); ++k) {
      const auto position = static_cast<int32_t>(want.tokens.size() + k) - 1;
      row.error.add(got[i].logits.at(position), want.greedy_logits[k]);
      row.exact += got[i].tokens[k] == want.greedy[k];
      ++row.tokens;
    }
  }
  return row;
}

void expect_golden(const GoldenCase& c, const std::string& configuration,
                   const std::vector<Generated>& got) {
  const Line row = measure(c, configuration, got);
  table->lines.push_back(row);
  EXPECT_LE(row.error.max_abs, kMaxAbs) << c.name << " " << configuration;
  EXPECT_LE(row.error.rel_rms(), kRelRms) << c.name << " " << configuration;
  EXPECT_EQ(row.exact, row.tokens) << c.name << " " << configuration;
}

// A case on a device: "cpu" or "cuda".
class Golden : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    if (on_gpu() && cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
  }
  static bool on_gpu() { return std::string_view(std::get<1>(GetParam())) == "cuda"; }
  TpEngineConfig config(int32_t tensor_parallel = 1) const {
    TpEngineConfig out = config_for(c, tensor_parallel);
    out.device.cuda = on_gpu();
    return out;
  }
  // For the table.
  static std::string named(const std::string& configuration) {
    return on_gpu() ? "GPU: " + configuration : configuration;
  }
  GoldenCase c = load_golden_case(std::get<0>(GetParam()));
  std::vector<Request> requests = requests_of(c);
};

TEST_P(Golden, alone_batched_chunked_ahead_and_moved_match_the_reference_and_each_other) {
  TpEngineConfig settings = config();
  settings.steps_ahead = true;
  EngineUnderTest engine(settings);
  const auto alone = generate(engine, requests, {});
  expect_golden(c, named("alone"), alone);

  const auto batched = generate(engine, requests, {.together = true});
  expect_golden(c, named("all in one batch"), batched);
  expect_same("batched", batched, alone);
  // Once more, as steps of that size are recorded by now.
  expect_same("steps ahead", generate(engine, requests, {.together = true, .ahead = true}), alone);

  for (const int32_t chunk : {1, 7, 33}) {
    if (chunk == 33) {
      const auto chunked = generate(engine, requests, {.chunk = chunk, .together = true});
      expect_golden(c, named("chunks of 33"), chunked);
      expect_same("chunks of 33", chunked, alone);
      continue;
    }
    // Tiny chunks of a long prompt are work twice over, and show nothing that those of a short one
    // do not.
    for (size_t i = 0; i < requests.size(); ++i)
      if (requests[i].tokens.size() <= 150)
        expect_same("chunks of " + std::to_string(chunk),
                    generate(engine, {requests[i]}, {.chunk = chunk}), {alone[i]});
  }

  EngineUnderTest other(config());
  const auto moved =
      generate(engine, requests, {.chunk = 64, .together = true, .decode_on = &other});
  expect_golden(c, named("prefill here, decode there"), moved);
  expect_same("moved", moved, alone);
}

TEST_P(Golden, every_division_over_threads_matches_the_reference) {
  for (const int32_t size : {2, 4}) {
    const ModelConfig model = read_model_config(c.dir).value();
    if (!check_shardable(model, size).ok()) {
      const auto refused = make_tp_engine(config(size));
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.error().field, "tensor_parallel");
      continue;
    }
    TpEngineConfig settings = config(size);
    settings.steps_ahead = true;
    EngineUnderTest engine(settings);
    const std::string name = "tensor parallel " + std::to_string(size);
    const auto batched = generate(engine, requests, {.together = true});
    expect_golden(c, named(name), batched);
    expect_same(name, generate(engine, requests, {.chunk = 33}), batched);
    expect_same(name + ", steps ahead",
                generate(engine, requests, {.together = true, .ahead = true}), batched);
  }
}

// Blocks hold the KV of all heads whatever the size of the group that wrote them.
TEST_P(Golden, sequences_move_between_groups_of_different_sizes) {
  if (!check_shardable(read_model_config(c.dir).value(), 2).ok()) return;
  EngineUnderTest one(config()), two(config(2));
  expect_golden(c, named("prefill on 2 ranks, decode on 1"),
                generate(two, requests, {.together = true, .decode_on = &one}));
  expect_golden(c, named("prefill on 1 rank, decode on 2"),
                generate(one, requests, {.together = true, .decode_on = &two}));
}

// On GPUs of their own ranks can not read each other's KV: each writes what it reads, and blocks
// are put together of all of them. The host shows the same with pools of their own.
class GoldenInOwnPools : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenCase c = load_golden_case(GetParam());
  std::vector<Request> requests = requests_of(c);
};

TEST_P(GoldenInOwnPools, the_bits_are_those_of_a_shared_pool_and_blocks_move_between_them) {
  const ModelConfig model = read_model_config(c.dir).value();
  for (const int32_t size : {2, 4}) {
    if (!check_shardable(model, size).ok()) continue;
    TpEngineConfig apart = config_for(c, size);
    apart.device.own_pools = true;
    EngineUnderTest shared(config_for(c, size)), own(apart);
    const auto want = generate(shared, requests, {.together = true});
    const std::string name = "tensor parallel " + std::to_string(size) + ", pools of their own";
    const auto got = generate(own, requests, {.chunk = 33, .together = true});
    expect_golden(c, name, got);
    expect_same(name, got, want);
    expect_same("moved out", generate(own, requests, {.together = true, .decode_on = &shared}),
                want);
    expect_same("moved in", generate(shared, requests, {.together = true, .decode_on = &own}),
                want);
  }
}

// Ranks of two processes, over sockets; the sums are taken in rank order, so the bits are those of
// threads.
class GoldenOverSockets : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenCase c = load_golden_case(GetParam());
  std::vector<Request> requests = requests_of(c);
};

TEST_P(GoldenOverSockets, processes_give_the_bits_of_threads) {
  const ModelConfig model = read_model_config(c.dir).value();
  for (const int32_t size : {2, 4}) {
    if (!check_shardable(model, size).ok()) continue;
    EngineUnderTest threads(config_for(c, size));
    const auto want = generate(threads, requests, {.together = true});
    TpEngineConfig leader = config_for(c, size);
    leader.device.own_pools = size == 4;  // as on GPUs, two of each process
    TpEngineConfig follower = leader;
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
      const auto got = generate(engine, requests, {.together = true});
      expect_golden(c, name, got);
      expect_same(name, got, want);
      expect_same(name + ", moved in",
                  generate(threads, requests, {.together = true, .decode_on = &engine}), want);
    }
    process.join();
    EXPECT_TRUE(followed.ok()) << followed.error().text();
  }
}

// The other instruction sets of this machine; the widest is what the tests above use.
TEST_P(Golden, every_instruction_set_matches_the_reference) {
  if (on_gpu()) return;
  for (const char* name : {"portable", "avx2", "avx512", "amx"}) {
    TpEngineConfig settings = config();
    settings.kernels = name;
    if (cpu_ops_named(name) == nullptr) continue;
    EngineUnderTest engine(settings);
    expect_golden(c, std::string("kernels ") + name,
                  generate(engine, requests, {.together = true}));
  }
}

// Two forms of attention compute one function; which one a prompt takes is a threshold, so force
// each.
TEST_P(Golden, both_forms_of_attention_match_the_reference) {
  if (read_model_config(c.dir)->attention != AttentionKind::mla) return;
  for (const bool expanded : {false, true}) {
    TpEngineConfig settings = config();
    settings.expanded_prompt_min = expanded ? 1 : INT32_MAX;
    EngineUnderTest engine(settings);
    expect_golden(c, named(expanded ? "expanded prompts" : "absorbed prompts"),
                  generate(engine, requests, {.together = true}));
  }
}

// A sequence that is computed again after it gave way: prompt + emitted as one prefill,
// prompt_tokens as before.
TEST_P(Golden, recomputing_a_sequence_gives_the_same_bits) {
  EngineUnderTest engine(config());
  const auto whole = generate(engine, requests, {.together = true});
  for (size_t i = 0; i < requests.size(); ++i) {
    Request again = requests[i];
    again.prompt_tokens = static_cast<int32_t>(again.tokens.size());
    again.tokens.insert(again.tokens.end(), whole[i].tokens.begin(), whole[i].tokens.begin() + 9);
    again.count = 32 - 9;
    const auto rest = generate(engine, {again}, {.chunk = 50});
    EXPECT_EQ(rest[0].tokens,
              std::vector<TokenId>(whole[i].tokens.begin() + 9, whole[i].tokens.end()));
    for (const auto& [position, logits] : rest[0].logits)
      ASSERT_EQ(logits, whole[i].logits.at(position)) << position;
  }
}

// Random tiny models flip experts under rounding, so bf16 is held to the distribution, not to
// single logits.
TEST_P(Golden, bfloat16_stays_close_in_distribution) {
  struct Measured {
    std::string name;
    double argmax;
  };
  const std::vector<Measured> column = {
      {"v3-longctx", 0.938},      {"v3-tiny-bf16", 0.824}, {"v3-tiny-fp8-k128", 0.920},
      {"v3-tiny-fp8", 0.929},     {"v3-tiny-mtp", 0.989},  {"v3-tiny-negbias", 0.926},
      {"v2-like", 0.923},         {"v2-lite-like", 0.911}, {"llama-tiny", 0.955},
      {"llama-tiny-tied", 0.977}, {"qwen2-tiny", 0.962},   {"deepseek-coder-like", 0.954}};
  TpEngineConfig settings = config();
  settings.compute = Compute::bfloat16;
  EngineUnderTest engine(settings);
  for (auto& r : requests) r.count = 1;
  const auto got = generate(engine, requests, {.together = true});
  expect_same("bfloat16 in chunks", generate(engine, requests, {.chunk = 33}), got);
  std::vector<double> divergences;
  double agreed = 0;
  for (size_t i = 0; i < c.prompts.size(); ++i)
    for (size_t k = 0; k < c.prompts[i].positions.size(); ++k) {
      const auto& mine = got[i].logits.at(c.prompts[i].positions[k]);
      divergences.push_back(kl_divergence(c.prompts[i].logits[k], mine));
      agreed += argmax(mine) == argmax(c.prompts[i].logits[k]);
    }
  std::ranges::sort(divergences);
  const double median = divergences[divergences.size() / 2];
  const double agreement = agreed / static_cast<double>(divergences.size());
  const double want = std::ranges::find(column, c.name, &Measured::name)->argmax - 0.05;
  table->notes.push_back(named(c.name) + ": bfloat16 median KL " + std::to_string(median) +
                         ", argmax agrees " + std::to_string(agreement));
  EXPECT_LE(median, 0.02);
  EXPECT_GE(agreement, want);
}

TEST(GoldenChats, every_greedy_token_is_the_references) {
  for (const char* name : {"v3-tiny-bf16", "v3-tiny-mtp"}) {
    const auto chats = load_golden_chats(name);
    std::vector<Request> requests;
    for (const auto& chat : chats)
      requests.push_back({.tokens = chat.tokens,
                          .positions = {},
                          .count = static_cast<int32_t>(chat.greedy.size())});
    EngineUnderTest engine(
        config_for({.name = name,
                    .dir = FATHOM_SOURCE_DIR "/tests/golden/data/" + std::string(name),
                    .prompts = {}}));
    const auto got = generate(engine, requests, {.chunk = 20, .together = true});
    for (size_t i = 0; i < chats.size(); ++i)
      EXPECT_EQ(got[i].tokens, chats[i].greedy) << name << " chat " << i;
  }
}

std::string test_name(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
const auto kTestName = [](const auto& instance) { return test_name(instance.param); };
const auto kPlacedName = [](const auto& instance) {
  return test_name(std::string(std::get<0>(instance.param)) + "_" + std::get<1>(instance.param));
};
INSTANTIATE_TEST_SUITE_P(all, Golden,
                         ::testing::Combine(::testing::ValuesIn(kCases),
                                            ::testing::Values("cpu", "cuda")),
                         kPlacedName);
INSTANTIATE_TEST_SUITE_P(all, GoldenInOwnPools,
                         ::testing::Values("v2-like", "v3-tiny-mtp", "llama-tiny",
                                           "llama-tiny-tied", "qwen2-tiny"),
                         kTestName);
INSTANTIATE_TEST_SUITE_P(all, GoldenOverSockets,
                         ::testing::Values("v3-tiny-bf16", "v3-tiny-fp8-k128", "v2-like",
                                           "v2-lite-like", "llama-tiny", "llama-tiny-tied",
                                           "qwen2-tiny"),
                         kTestName);

}  // namespace
}  // namespace fathom
