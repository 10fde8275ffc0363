// Is every layer right, and not only the logits at their end? What the reference wrote down between
// the layers of one prompt, against the engine's values at the same places: the residual stream,
// each half of a layer, and what the KV cache holds.
#include <gtest/gtest.h>

#include <climits>
#include <cmath>
#include <map>

#include "engine/tp_engine.h"
#include "golden_case.h"
#include "golden_tensors.h"

namespace fathom {
namespace {

constexpr double kMaxAbs = 1e-3, kRelRms = 1e-5;

// Of the prompt the intermediates were taken from.
constexpr size_t kPrompt = 2;

struct Intermediates {
  GoldenCase c = load_golden_case("v3-tiny-bf16");
  GoldenTensors want{c.dir + "/intermediates.safetensors"};
  std::map<std::string, std::vector<float>> got;  // by the reference's names
  std::vector<float> block;

  // One step over the whole prompt, and the block that holds its KV.
  void run(TpEngineConfig config) {
    config.model_dir = c.dir;
    config.block_tokens = 32;
    config.kv_blocks = 1;
    config.layer_tap = [this](int32_t layer, std::string_view what, std::span<const float> values) {
      got[name(layer, what)].assign(values.begin(), values.end());
    };
    auto engine = make_tp_engine(config).value();
    const std::vector<BlockIndex> blocks = {0};
    const auto& tokens = c.prompts[kPrompt].tokens;
    const Sampling greedy{.temperature = 0};
    Plan plan;
    plan.rows.push_back({.tokens = tokens,
                         .prompt_tokens = static_cast<int32_t>(tokens.size()),
                         .blocks = blocks,
                         .sample = true,
                         .state = {.sampling = &greedy}});
    ASSERT_TRUE(engine->step(plan).ok());
    block.resize(static_cast<size_t>(engine->info().kv.block_bytes) / sizeof(float));
    ASSERT_TRUE(engine->export_block(0, std::as_writable_bytes(std::span(block))).ok());
  }

  static std::string name(int32_t layer, std::string_view what) {
    if (layer < 0) return std::string(what);
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    if (what == "attention") return prefix + "attn_out";
    if (what == "feed_forward") return prefix + "ffn_out";
    return prefix + std::string(what);
  }
};

void expect_close(const std::string& what, const std::vector<float>& got,
                  const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size()) << what;
  LogitError error;
  error.add(got, want);
  EXPECT_LE(error.max_abs, kMaxAbs) << what;
  EXPECT_LE(error.rel_rms(), kRelRms) << what;
}

// The cache holds [latent | rope key] a position, layer by layer; pairs turned in place, as the
// reference stores them.
void expect_cached(const Intermediates& run, const ModelConfig& model) {
  const auto rows = run.c.prompts[kPrompt].tokens.size();
  for (int32_t layer = 0; layer < model.layers; ++layer) {
    std::vector<float> latent, key;
    for (size_t t = 0; t < rows; ++t) {
      const auto at = run.block.begin() +
                      (int64_t{layer} * 32 + static_cast<int64_t>(t)) * model.latent_width();
      latent.insert(latent.end(), at, at + model.kv_rank);
      key.insert(key.end(), at + model.kv_rank, at + model.latent_width());
    }
    expect_close(Intermediates::name(layer, "c_kv"), latent,
                 run.want.flat<float>(Intermediates::name(layer, "c_kv")));
    expect_close(Intermediates::name(layer, "k_pe"), key,
                 run.want.flat<float>(Intermediates::name(layer, "k_pe")));
  }
}

TEST(GoldenLayers, every_layer_is_the_references_in_both_forms_and_divided) {
  for (const bool expanded : {false, true})
    for (const int32_t ranks : {1, 2}) {
      SCOPED_TRACE((expanded ? "expanded, ranks " : "absorbed, ranks ") + std::to_string(ranks));
      Intermediates run;
      run.run({.tensor_parallel = ranks, .expanded_prompt_min = expanded ? 1 : INT_MAX});
      const ModelConfig model = read_model_config(run.c.dir).value();
      ASSERT_EQ(run.got.size(), static_cast<size_t>(1 + 3 * model.layers));
      for (const auto& [name, values] : run.got)
        expect_close(name, values, run.want.flat<float>(name));
      expect_cached(run, model);
    }
}

}  // namespace
}  // namespace fathom
