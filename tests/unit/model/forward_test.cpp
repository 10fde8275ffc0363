// Does a steady stream of steps leave the allocator alone?
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>

#include "comm/solo.h"
#include "kernels/cpu/host_device.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "model/forward.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

// Not inlined: GCC 12 would take malloc and delete, or new and free, for a wrong pair.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace fathom {
namespace {

class Forward : public ::testing::TestWithParam<const char*> {};

TEST_P(Forward, a_step_no_larger_than_an_earlier_one_allocates_nothing) {
  const std::string dir = FATHOM_SOURCE_DIR "/tests/golden/data/" + std::string(GetParam());
  const ModelConfig config = read_model_config(dir).value();
  const Checkpoint checkpoint = Checkpoint::open(dir).value();
  WeightReader reader(checkpoint, {});
  const ModelWeights weights = read_model_weights(config, {}, reader).value();
  const auto lanes = make_lanes(2);
  const auto scratch = make_scratch();
  const auto device = make_host_device();
  const auto comm = make_solo();
  constexpr int32_t kBlocks = 16, kBlockTokens = 16;
  const bool grouped = config.attention == AttentionKind::gqa;
  const int32_t width = grouped ? 2 * config.kv_heads * config.head_dim : config.latent_width();
  std::vector<float> pool(static_cast<size_t>(config.layers * kBlocks * kBlockTokens * width));
  RankParts parts{.config = &config,
                  .ops = &cpu_ops(),
                  .context = {lanes.get(), scratch.get(), Compute::float32, device.get()},
                  .comm = comm.get()};
  for (int32_t i = 0; i < config.layers; ++i) {
    float* base = pool.data() + i * kBlocks * kBlockTokens * width;
    if (grouped) {
      parts.kv_caches.push_back({.base = base,
                                 .block_stride = kBlockTokens * width,
                                 .block_tokens = kBlockTokens,
                                 .heads = config.kv_heads,
                                 .dim = config.head_dim});
    } else {
      parts.caches.push_back({.base = base,
                              .block_stride = kBlockTokens * width,
                              .block_tokens = kBlockTokens,
                              .rank = config.kv_rank,
                              .rope = config.rope});
    }
  }
  const auto rank = make_model_rank(parts, weights);

  std::vector<TokenId> prompt(100);
  std::iota(prompt.begin(), prompt.end(), 5);
  const std::vector<BlockIndex> first = {0, 1, 2, 3, 4, 5, 6}, second = {8, 9};
  Batch batch;
  float seen = 0;
  const LogitsSink sink = [&](int32_t, std::span<const float> logits, int32_t) -> Status {
    seen += logits[0];
    return {};
  };
  const auto step =
      [&] {  // a prompt in the expanded form beside a decoding row in the absorbed one
        batch.clear();
        batch.add({.tokens = prompt, .prompt_tokens = 100, .blocks = first},
                  {.block_tokens = kBlockTokens});
        batch.add({.tokens = std::span(prompt).first(1),
                   .position = 20,
                   .prompt_tokens = 20,
                   .blocks = second},
                  {.block_tokens = kBlockTokens});
        batch.want_logits(99);
        batch.want_logits(100);
        ASSERT_TRUE(rank->forward(batch, sink).ok());
      };
  step();
  step();
  const int64_t before = allocations;
  step();
  EXPECT_EQ(allocations - before, 0);
  EXPECT_NE(seen, 0);
}

INSTANTIATE_TEST_SUITE_P(architectures, Forward,
                         ::testing::Values("v3-tiny-fp8", "v2-lite-like", "qwen2-tiny"));

}  // namespace
}  // namespace fathom
