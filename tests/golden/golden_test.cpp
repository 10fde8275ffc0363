// Does the engine compute what the reference implementations compute? Every checkpoint of the
// golden data, in every way a cluster may run it: float32 logits within the measured noise, all
// greedy tokens exact, and the same bits however the work was cut, batched or moved.
#include <gtest/gtest.h>

#include <cstdio>

#include "generation.h"
#include "golden_case.h"

namespace fathom {
namespace {

constexpr double kMaxAbs = 2e-3, kRelRms = 1e-4;  // 20 times the noise between the references

const char* const kCases[] = {"v3-tiny-bf16", "v3-tiny-fp8",     "v3-tiny-fp8-k128",
                              "v3-tiny-mtp",  "v3-tiny-negbias", "v3-longctx"};

TpEngineConfig config_for(const GoldenCase& c, int32_t tensor_parallel = 1) {
  return {
      .model_dir = c.dir, .tensor_parallel = tensor_parallel, .block_tokens = 16, .kv_blocks = 400};
}

std::vector<Request> requests_of(const GoldenCase& c) {
  std::vector<Request> out;
  for (const auto& p : c.prompts) out.push_back({.tokens = p.tokens, .positions = p.positions});
  return out;
}

struct Row {
  std::string golden, configuration;
  LogitError error;
  int32_t exact = 0, tokens = 0;
};

// Collected over all tests of this program and printed at its end, for docs/engine.md.
class Table : public ::testing::Environment {
 public:
  void TearDown() override {
    std::printf(
        "\n| case | configuration | max_abs | rel_rms | greedy exact |\n|---|---|---|---|---|\n");
    for (const Row& r : rows)
      std::printf("| %s | %s | %.1e | %.1e | %d/%d |\n", r.golden.c_str(), r.configuration.c_str(),
                  r.error.max_abs, r.error.rel_rms(), r.exact, r.tokens);
  }
  std::vector<Row> rows;
};
Table* const table = static_cast<Table*>(::testing::AddGlobalTestEnvironment(new Table));

Row measure(const GoldenCase& c, const std::string& configuration,
            const std::vector<Generated>& got) {
  Row row{.golden = c.name, .configuration = configuration, .error = {}};
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
  const Row row = measure(c, configuration, got);
  table->rows.push_back(row);
  EXPECT_LE(row.error.max_abs, kMaxAbs) << c.name << " " << configuration;
  EXPECT_LE(row.error.rel_rms(), kRelRms) << c.name << " " << configuration;
  EXPECT_EQ(row.exact, row.tokens) << c.name << " " << configuration;
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, float32_logits_and_greedy_tokens_match_the_reference) {
  const GoldenCase c = load_golden_case(GetParam());
  EngineUnderTest engine(config_for(c));
  expect_golden(c, "alone", generate(engine, requests_of(c), {}));
}

INSTANTIATE_TEST_SUITE_P(all, Golden, ::testing::ValuesIn(kCases), [](const auto& instance) {
  std::string name = instance.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace fathom
