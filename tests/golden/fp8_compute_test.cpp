// Does `compute: fp8` quantise activations as the checkpoint's own arithmetic does? Single layers
// to the last bit of every code; whole models by distribution, for each rounding that tips over is
// amplified by the next one: the same arithmetic, its input changed by one part in a million, has
// logits 12 % away (data/README.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "generation.h"
#include "golden_case.h"
#include "golden_tensors.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "kernels/cuda/device.h"
#include "model/weights.h"

namespace fathom {
namespace {

const std::string kData = FATHOM_SOURCE_DIR "/tests/golden/data/";
const std::string kMinnow = FATHOM_SOURCE_DIR "/models/minnow";

double decoded(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double value =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -value : value;
}

// A CPU's linear under fp8.
class QuantisedLayers : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (cpu_ops_named(GetParam()) == nullptr) GTEST_SKIP() << "not of this machine";
  }
  std::vector<float> multiply(const std::vector<float>& x, const Weight& w) {
    const auto rows = static_cast<int32_t>(x.size()) / w.cols;
    std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(w.rows));
    cpu_ops_named(GetParam())
        ->linear({lanes_.get(), scratch_.get(), Compute::fp8}, {.x = x.data(),
                                                                .x_stride = w.cols,
                                                                .rows = rows,
                                                                .weight = w,
                                                                .y = y.data(),
                                                                .y_stride = w.rows});
    scratch_->reset();
    return y;
  }

 private:
  std::unique_ptr<Lanes> lanes_ = make_lanes(1);
  std::unique_ptr<Scratch> scratch_ = make_scratch();
};

struct Layer {
  const char* name;
  int32_t rows, cols;
};
const Layer kLayers[] = {{"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 160, 256},
                         {"model.layers.0.mlp.down_proj.weight", 256, 384},
                         {"model.layers.1.mlp.experts.3.gate_proj.weight", 128, 256},
                         {"model.layers.1.self_attn.q_b_proj.weight", 256, 128}};

// Through a weight of ones on its diagonal come the codes times their scales.
TEST_P(QuantisedLayers, codes_and_scales_are_the_references_bit_for_bit) {
  const GoldenTensors want(kData + "v3-tiny-fp8-k128/fp8_ops.safetensors");
  for (size_t i = 0; i < std::size(kLayers); ++i)
    for (const char* type : {"f32", "bf16"}) {
      const std::string op = "op" + std::to_string(i) + "." + type + ".";
      SCOPED_TRACE(op);
      const auto cols = static_cast<size_t>(kLayers[i].cols);
      std::vector<uint8_t> diagonal(cols * cols);
      for (size_t k = 0; k < cols; ++k) diagonal[k * cols + k] = 0x38;  // 1
      const std::vector<float> ones(cols * cols, 1.0f);
      const auto got = multiply(want.flat<float>(op + "x"), {.data = diagonal.data(),
                                                             .dtype = DType::f8_e4m3,
                                                             .rows = kLayers[i].cols,
                                                             .cols = kLayers[i].cols,
                                                             .row_stride = kLayers[i].cols,
                                                             .scale = ones.data(),
                                                             .scale_stride = kLayers[i].cols});
      const auto codes = want.flat<uint8_t>(op + "xq_bytes");
      const auto scales = want.flat<float>(op + "x_scale");
      ASSERT_EQ(got.size(), codes.size());
      for (size_t k = 0; k < got.size(); ++k)
        ASSERT_EQ(got[k], static_cast<float>(decoded(codes[k]) * double{scales[k / 128]})) << k;
    }
}

TEST_P(QuantisedLayers, products_are_the_references) {
  const GoldenTensors want(kData + "v3-tiny-fp8-k128/fp8_ops.safetensors");
  const Checkpoint checkpoint = Checkpoint::open(kData + "v3-tiny-fp8-k128").value();
  WeightReader reader(checkpoint, {});
  for (size_t i = 0; i < std::size(kLayers); ++i)
    for (const char* type : {"f32", "bf16"}) {
      const std::string op = "op" + std::to_string(i) + "." + type + ".";
      const Weight w = reader.matrix(kLayers[i].name, kLayers[i].rows, kLayers[i].cols).value();
      LogitError error;
      error.add(multiply(want.flat<float>(op + "x"), w), want.flat<float>(op + "y"));
      EXPECT_LE(error.rel_rms(), 1e-6) << op;
    }
}

INSTANTIATE_TEST_SUITE_P(Tables, QuantisedLayers,
                         testing::Values("portable", "avx2", "avx512", "amx"),
                         [](const auto& tested) { return std::string(tested.param); });

// ---- whole models ----

TpEngineConfig config_of(const std::string& dir, Compute compute) {
  return {.model_dir = dir, .compute = compute, .block_tokens = 16, .kv_blocks = 400};
}

struct Distance {
  std::vector<double> kl;
  double agreed = 0;
  LogitError error;
  void add(const std::vector<float>& want, const std::vector<float>& got) {
    kl.push_back(kl_divergence(want, got));
    agreed += argmax(want) == argmax(got);
    error.add(got, want);
  }
  double median() {
    std::ranges::sort(kl);
    return kl[kl.size() / 2];
  }
  double mean() const {
    return std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(kl.size());
  }
  double agreement() const { return agreed / static_cast<double>(kl.size()); }
  void print(const std::string& what) {
    std::printf("%s: KL median %.1e mean %.1e, argmax agrees %.3f, rel_rms %.3f\n", what.c_str(),
                median(), mean(), agreement(), error.rel_rms());
  }
};

std::vector<Request> prompts_of(const GoldenCase& c) {
  std::vector<Request> out;
  for (const auto& p : c.prompts)
    out.push_back({.tokens = p.tokens, .positions = p.positions, .count = 1});
  return out;
}

Distance distance(const GoldenCase& c, const std::vector<Generated>& got) {
  Distance out;
  for (size_t i = 0; i < c.prompts.size(); ++i)
    for (size_t k = 0; k < c.prompts[i].positions.size(); ++k)
      out.add(c.prompts[i].logits[k], got[i].logits.at(c.prompts[i].positions[k]));
  return out;
}

// Whole models on a device: "cpu" or "cuda".
class GoldenFp8 : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (on_gpu() && cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
  }
  static bool on_gpu() { return std::string_view(GetParam()) == "cuda"; }
  static TpEngineConfig config_here(const std::string& dir, Compute compute) {
    TpEngineConfig out = config_of(dir, compute);
    out.device.cuda = on_gpu();
    return out;
  }
};

// As far from the weight-only reference as the reference's own quantised run is. Random weights
// flip experts, so this is far.
TEST_P(GoldenFp8, is_as_far_from_weight_only_as_the_reference_that_quantises) {
  const GoldenCase c = load_golden_case("v3-tiny-fp8-k128");
  const GoldenTensors expected(c.dir + "/expected.safetensors");
  Distance reference;
  for (size_t i = 0; i < c.prompts.size(); ++i) {
    const auto rows = expected.rows("p" + std::to_string(i) + ".logits_actquant");
    ASSERT_EQ(rows.size(), c.prompts[i].logits.size());
    for (size_t k = 0; k < rows.size(); ++k) reference.add(c.prompts[i].logits[k], rows[k]);
  }
  reference.print("v3-tiny-fp8-k128, the reference's fp8");
  const auto requests = prompts_of(c);
  EngineUnderTest engine(config_here(c.dir, Compute::fp8));
  Distance mine = distance(c, generate(engine, requests, {.together = true}));
  mine.print("v3-tiny-fp8-k128, fp8 on " + std::string(GetParam()));
  EXPECT_LE(mine.error.rel_rms(), 1.25 * reference.error.rel_rms());
  EXPECT_LE(mine.median(), 1.25 * reference.median());
  EXPECT_GT(mine.error.rel_rms(), 0.25 * reference.error.rel_rms()) << "nothing is quantised";
}

TEST_P(GoldenFp8, a_row_has_the_same_bits_alone_in_a_batch_in_chunks_and_moved) {
  for (const char* name : {"v3-tiny-fp8-k128", "v3-tiny-fp8"}) {  // the second's columns end early
    const GoldenCase c = load_golden_case(name);
    auto requests = prompts_of(c);
    for (auto& r : requests) r.count = 8;
    EngineUnderTest engine(config_here(c.dir, Compute::fp8));
    EngineUnderTest other(config_here(c.dir, Compute::fp8));
    EXPECT_EQ(engine.engine().info().compute, "fp8");
    EXPECT_EQ(engine.engine().info().kv.dtype, "bf16");
    const auto alone = generate(engine, requests, {});
    expect_same("in a batch", generate(engine, requests, {.together = true}), alone);
    expect_same("in chunks", generate(engine, requests, {.chunk = 33, .together = true}), alone);
    expect_same("moved", generate(engine, requests, {.together = true, .decode_on = &other}),
                alone);
  }
}

// A trained model, on texts it writes itself. e4m3 keeps 4 bits of a number where bf16 keeps 8, and
// a divergence grows with the square of an error: up to 2^8 times that of bfloat16 is what to
// expect, were bfloat16's from the same roundings.
TEST_P(GoldenFp8, a_trained_model_stays_close) {
  std::vector<Request> texts;
  {
    EngineUnderTest writer(config_here(kMinnow, Compute::float32));
    for (uint64_t seed = 1; seed <= 8; ++seed)
      texts.push_back({.tokens = {0},
                       .positions = {},
                       .sampling = {.temperature = 1, .seed = seed},
                       .count = 64});
    const auto written = generate(writer, texts, {.together = true});
    for (size_t i = 0; i < texts.size(); ++i) {
      Request& t = texts[i];
      t.tokens.insert(t.tokens.end(), written[i].tokens.begin(), written[i].tokens.end());
      t.positions.resize(t.tokens.size());
      std::iota(t.positions.begin(), t.positions.end(), 0);
      t.sampling = {.temperature = 0};
      t.count = 1;
    }
  }
  const auto logits = [&](Compute compute) {
    EngineUnderTest engine(config_here(kMinnow, compute));
    return generate(engine, texts, {.together = true});
  };
  const auto want = logits(Compute::float32);
  const auto against = [&](Compute compute) {
    const auto got = logits(compute);
    Distance out;
    for (size_t i = 0; i < texts.size(); ++i)
      for (const int32_t at : texts[i].positions)
        out.add(want[i].logits.at(at), got[i].logits.at(at));
    out.print("minnow, " + std::string(name_of(compute)));
    return out;
  };
  Distance half = against(Compute::bfloat16), fp8 = against(Compute::fp8);
  EXPECT_LE(fp8.median(), 256 * half.median());
  EXPECT_LE(fp8.mean(), 256 * half.mean());
  EXPECT_GE(fp8.agreement(), 0.95);
}

INSTANTIATE_TEST_SUITE_P(Devices, GoldenFp8, testing::Values("cpu", "cuda"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST(GoldenFp8Refused, what_can_not_be_quantised_is_refused_by_name) {
  const auto plain = make_tp_engine(config_of(kData + "v3-tiny-bf16", Compute::fp8));
  ASSERT_FALSE(plain.ok());
  EXPECT_EQ(plain.error().field, "compute");
  TpEngineConfig cut = config_of(kData + "v3-tiny-fp8-k128", Compute::fp8);
  cut.tensor_parallel = 2;  // o_proj has 128 columns
  const auto divided = make_tp_engine(cut);
  ASSERT_FALSE(divided.ok());
  EXPECT_EQ(divided.error().field, "compute");
  EXPECT_NE(divided.error().message.find("tensor_parallel"), std::string::npos);
}

}  // namespace
}  // namespace fathom
