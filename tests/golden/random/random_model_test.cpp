// Is the engine right for checkpoints nobody showed it? Random small models of odd sizes, every
// storage type and many config variants, against a double-precision computation of the formulas.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "model/config.h"
#include "model/shard.h"
#include "random_model.h"
#include "tests/golden/generation.h"

namespace fathom {
namespace {

// Of each family.
constexpr uint64_t kModels = 16;

std::vector<Request> random_requests(const RandomModel& model, std::mt19937_64& random) {
  std::vector<Request> out;
  for (const size_t length : {size_t{1}, size_t{2 + random() % 20}, size_t{40 + random() % 30}}) {
    Request r{.tokens = {}, .positions = {}, .count = 4};
    for (size_t i = 0; i < length; ++i)
      r.tokens.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(model.shape.vocab)));
    r.positions.resize(length);
    std::iota(r.positions.begin(), r.positions.end(), 0);
    out.push_back(std::move(r));
  }
  return out;
}

void expect_reference(const RandomModel& model, const Request& request, const Generated& got) {
  std::vector<TokenId> tokens = request.tokens;
  tokens.insert(tokens.end(), got.tokens.begin(), got.tokens.end() - 1);
  const auto want = reference_logits(model, tokens);
  double square = 0, reference = 0, worst = 0;
  for (size_t p = 0; p < want.size(); ++p) {
    const auto& row = got.logits.at(static_cast<int32_t>(p));
    for (size_t v = 0; v < row.size(); ++v) {
      const double d = std::abs(row[v] - want[p][v]);
      worst = d <= worst ? worst : d;
      square += d * d;
      reference += want[p][v] * want[p][v];
    }
  }
  EXPECT_LE(worst, 2e-3);
  EXPECT_LE(std::sqrt(square / reference), 1e-4);
  for (size_t k = 0; k < got.tokens.size(); ++k) {
    const auto& row = want[request.tokens.size() - 1 + k];
    const double top = *std::max_element(row.begin(), row.end());
    EXPECT_NEAR(row[static_cast<size_t>(got.tokens[k])], top, 4e-3) << "not the likeliest token";
  }
}

class RandomModels : public ::testing::TestWithParam<std::tuple<const char*, uint64_t>> {};

TEST_P(RandomModels, match_a_double_precision_computation) {
  RandomModel model;
  const auto [family, seed] = GetParam();
  make_random_model(family, seed, model);
  SCOPED_TRACE(model.about());
  std::mt19937_64 random(seed + 1000);
  const auto requests = random_requests(model, random);
  const ModelConfig config = read_model_config(model.folder.path()).value();
  for (const int32_t size : {1, 2, 3}) {
    if (!check_shardable(config, size).ok()) continue;
    SCOPED_TRACE("tensor parallel " + std::to_string(size));
    TpEngineConfig settings{.model_dir = model.folder.path(),
                            .tensor_parallel = size,
                            .threads_per_rank = 1 + static_cast<int32_t>(random() % 2),
                            .block_tokens = 1 + static_cast<int32_t>(random() % 20),
                            .kv_blocks = 300,
                            .expanded_prompt_min = 1 + static_cast<int32_t>(random() % 30)};
    EngineUnderTest engine(settings);
    const Schedule schedule{.chunk = 1 + static_cast<int32_t>(random() % 40), .together = true};
    const auto got = generate(engine, requests, schedule);
    for (size_t i = 0; i < requests.size(); ++i) expect_reference(model, requests[i], got[i]);
    if (size == 1) continue;
    settings.device.own_pools = true;
    EngineUnderTest apart(settings);
    EXPECT_EQ(generate(apart, requests, schedule), got) << "in pools of their own";
  }
}

INSTANTIATE_TEST_SUITE_P(seeds, RandomModels,
                         ::testing::Combine(::testing::Values("deepseek_v3", "deepseek_v2", "llama",
                                                              "qwen2"),
                                            ::testing::Range(uint64_t{0}, kModels)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param)) + "_" +
                                  std::to_string(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace fathom
