#include "cli/up_options.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "net/ports.h"

namespace fathom {
namespace {

UpOptions tiny() {
  UpOptions options;
  options.model = FATHOM_SOURCE_DIR "/models/v3-tiny-bf16";
  options.port = free_ports(1).value()[0];
  return options;
}

std::string refused(const UpOptions& options) {
  const auto settled = settle_up_options(options);
  return settled.ok() ? "accepted" : settled.error().field;
}

TEST(UpOptions, one_prefill_and_one_decode_worker_unless_said_otherwise) {
  UpOptions options = tiny();
  EXPECT_EQ(settle_up_options(options)->prefill, 1);
  EXPECT_EQ(settle_up_options(options)->decode, 1);
  options.both = 2;
  EXPECT_EQ(settle_up_options(options)->prefill, 0);
  EXPECT_EQ(settle_up_options(options)->decode, 0);
  options.decode = 3;
  EXPECT_EQ(settle_up_options(options)->decode, 3);
}

TEST(UpOptions, every_refusal_names_its_option) {
  const auto with = [](auto change) {
    UpOptions options = tiny();
    change(options);
    return refused(options);
  };
  EXPECT_EQ(with([](UpOptions&) {}), "accepted");
  EXPECT_EQ(with([](UpOptions& o) { o.prefill = 0; }), "--prefill");
  EXPECT_EQ(with([](UpOptions& o) { o.decode = 0; }), "--decode");
  EXPECT_EQ(with([](UpOptions& o) { o.both = 65; }), "--both");
  EXPECT_EQ(with([](UpOptions& o) { o.tensor_parallel = 0; }), "--tensor-parallel");
  EXPECT_EQ(with([](UpOptions& o) { o.compute = "float16"; }), "--compute");
  EXPECT_EQ(with([](UpOptions& o) { o.kv_dtype = "int4"; }), "--kv-dtype");
  EXPECT_EQ(with([](UpOptions& o) { o.device = "tpu"; }), "--device");
  EXPECT_EQ(with([](UpOptions& o) { o.port = 70000; }), "--port");
  EXPECT_EQ(with([](UpOptions& o) { o.keys = "/nowhere"; }), "--keys");
  EXPECT_EQ(with([](UpOptions& o) { o.keys = "/tmp"; }), "--keys");
  EXPECT_EQ(with([](UpOptions& o) { o.price_input = "cheap"; }), "--price-input");
  EXPECT_EQ(with([](UpOptions& o) { o.price_cached_input = "-1"; }), "--price-cached-input");
  EXPECT_EQ(with([](UpOptions& o) { o.price_output = ""; }), "--price-output");
  EXPECT_EQ(with([](UpOptions& o) { o.currency = "euro"; }), "--currency");
  EXPECT_EQ(with([](UpOptions& o) { o.model = "/nowhere"; }), "--model");
  EXPECT_EQ(with([](UpOptions& o) { o.model = "/tmp"; }), "--model");
}

TEST(UpOptions, a_model_is_divided_by_two_if_it_can_be) {
  const std::string golden = FATHOM_SOURCE_DIR "/tests/golden/data/";
  UpOptions options = tiny();
  EXPECT_EQ(settle_up_options(options)->tensor_parallel, 2);
  options.model = golden + "llama-tiny-tied";
  EXPECT_EQ(settle_up_options(options)->tensor_parallel, 2);
  options.compute = "fp8";
  EXPECT_EQ(settle_up_options(options)->tensor_parallel, 1);
  options.compute = "auto";
  options.model = golden + "deepseek-coder-like";  // five heads
  EXPECT_EQ(settle_up_options(options)->tensor_parallel, 1);
  options.tensor_parallel = 5;
  EXPECT_EQ(refused(options), "--tensor-parallel");  // which does not divide the MLP
  options.engine = "fake";
  EXPECT_EQ(settle_up_options(options)->tensor_parallel, 5);
}

TEST(UpOptions, experts_are_divided_over_ranks_that_are_whole_otherwise) {
  const std::string golden = FATHOM_SOURCE_DIR "/tests/golden/data/";
  UpOptions options = tiny();
  options.model = golden + "v3-tiny-bf16";
  options.expert_parallel = 2;
  EXPECT_EQ(settle_up_options(options)->tensor_parallel, 1);
  options.tensor_parallel = 2;
  EXPECT_EQ(refused(options), "--tensor-parallel");
  options.tensor_parallel = -1;
  options.expert_parallel = 3;
  EXPECT_EQ(refused(options), "--expert-parallel");
  options.model = golden + "llama-tiny";  // has no experts
  options.expert_parallel = 2;
  EXPECT_EQ(refused(options), "--expert-parallel");
}

TEST(UpOptions, the_shipped_checkpoint_is_found_from_the_program) {
  UpOptions options = tiny();
  options.model.clear();
  const auto settled = settle_up_options(options);
  ASSERT_TRUE(settled.ok()) << settled.error().text();
  EXPECT_TRUE(settled->shipped_model);
  EXPECT_TRUE(settled->model.ends_with("models/minnow")) << settled->model;
}

TEST(UpOptions, arguments_carry_every_choice) {
  UpOptions options = tiny();
  options.both = 2;
  options.compute = "bfloat16";
  options.kv_dtype = "int8";
  options.question = false;
  options.prefix_cache = false;
  options.run_dir = "/tmp/somewhere";
  options.price_input = "0.27";
  options.currency = "EUR";
  const auto words = up_arguments(*settle_up_options(options));
  const auto after = [&](const std::string& option) {
    const auto at = std::ranges::find(words, option);
    return at == words.end() || at + 1 == words.end() ? std::string("absent") : *(at + 1);
  };
  EXPECT_EQ(words.front(), "up");
  EXPECT_EQ(after("--both"), "2");
  EXPECT_EQ(after("--prefill"), "0");
  EXPECT_EQ(after("--compute"), "bfloat16");
  EXPECT_EQ(after("--kv-dtype"), "int8");
  EXPECT_EQ(after("--model"), options.model);
  EXPECT_EQ(after("--run-dir"), "/tmp/somewhere");
  EXPECT_EQ(after("--price-input"), "0.27");
  EXPECT_EQ(after("--currency"), "EUR");
  EXPECT_EQ(after("--keys"), "absent");
  EXPECT_EQ(std::ranges::count(words, "--no-question"), 1);
  EXPECT_EQ(std::ranges::count(words, "--no-prefix-cache"), 1);
  EXPECT_EQ(std::ranges::count(words, "--detach"), 0);
}

}  // namespace
}  // namespace fathom
