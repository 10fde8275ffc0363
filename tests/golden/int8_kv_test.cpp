// What do latents of 8 bits do to the logits? Measured against the golden references next to what
// the same engine gives with KV of its compute's type, so that only the rounding of the cache is
// counted; and, rounded or not, the same bits however prompts are cut and blocks are moved.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "generation.h"
#include "golden_case.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

struct Effect {
  double median_kl = 0, argmax_kept = 0;
};

// Of one row of logits after another: how far the second run is from the first.
Effect effect_of(const std::vector<Generated>& plain, const std::vector<Generated>& rounded) {
  std::vector<double> divergences;
  double kept = 0;
  for (size_t i = 0; i < plain.size(); ++i)
    for (const auto& [position, logits] : plain[i].logits) {
      if (!rounded[i].logits.contains(position)) continue;
      const auto& other = rounded[i].logits.at(position);
      divergences.push_back(kl_divergence(logits, other));
      kept += argmax(logits) == argmax(other);
    }
  std::ranges::sort(divergences);
  return {divergences.at(divergences.size() / 2), kept / static_cast<double>(divergences.size())};
}

// A case on a device: "cpu" or "cuda".
class Int8Kv : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    if (on_gpu() && cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
  }
  static bool on_gpu() { return std::string_view(std::get<1>(GetParam())) == "cuda"; }
  GoldenCase c = load_golden_case(std::get<0>(GetParam()));
  std::vector<Request> requests() const {
    std::vector<Request> out;
    for (const auto& p : c.prompts)
      out.push_back({.tokens = p.tokens, .positions = p.positions, .count = 1});
    return out;
  }
  TpEngineConfig config(std::optional<DType> kv_dtype, Compute compute) const {
    return {.model_dir = c.dir,
            .compute = compute,
            .kv_dtype = kv_dtype,
            .device = {.cuda = on_gpu()},
            .block_tokens = 16,
            .kv_blocks = 400};
  }
};

TEST_P(Int8Kv, stays_close_to_what_the_unrounded_cache_gives) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16}) {
    EngineUnderTest plain(config({}, compute)), rounded(config(DType::i8, compute));
    const auto want = generate(plain, requests(), {.together = true});
    const Effect effect = effect_of(want, generate(rounded, requests(), {.together = true}));
    const double memory = static_cast<double>(rounded.engine().info().kv.block_bytes) /
                          static_cast<double>(plain.engine().info().kv.block_bytes);
    std::printf("| %s%s | %s | %.6f | %.1f %% | %.0f %% |\n", c.name.c_str(),
                on_gpu() ? " GPU" : "", compute == Compute::float32 ? "float32" : "bfloat16",
                effect.median_kl, 100 * effect.argmax_kept, 100 * memory);
    EXPECT_GT(effect.median_kl, 0.0) << "nothing was rounded";
    EXPECT_LE(effect.median_kl, compute == Compute::float32 ? 0.005 : 0.01);
    EXPECT_GE(effect.argmax_kept, 0.9);
    EXPECT_LT(memory, 0.8);
  }
}

TEST_P(Int8Kv, has_the_same_bits_in_chunks_and_after_a_move) {
  EngineUnderTest engine(config(DType::i8, Compute::bfloat16));
  EngineUnderTest other(config(DType::i8, Compute::bfloat16));
  auto some = requests();
  some.resize(std::min<size_t>(some.size(), 3));
  for (Request& r : some) r.count = 8;
  const auto want = generate(engine, some, {.together = true});
  EXPECT_EQ(generate(engine, some, {.chunk = 33}), want);
  EXPECT_EQ(generate(engine, some, {.chunk = 64, .together = true, .decode_on = &other}), want);
}

INSTANTIATE_TEST_SUITE_P(all, Int8Kv,
                         ::testing::Combine(::testing::Values("v3-tiny-fp8", "v3-tiny-mtp",
                                                              "v3-longctx", "v2-lite-like"),
                                            ::testing::Values("cpu", "cuda")),
                         [](const auto& instance) {
                           std::string name = std::string(std::get<0>(instance.param)) + "_" +
                                              std::get<1>(instance.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fathom
