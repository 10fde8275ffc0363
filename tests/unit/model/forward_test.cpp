// Does a steady stream of steps leave the allocator alone?
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>

#include "tests/unit/model/tiny_model.h"

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
  TinyModel model(GetParam(), 16);
  constexpr int32_t kBlockTokens = TinyModel::kBlockTokens;

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
        ASSERT_TRUE(model.rank->forward(batch, sink).ok());
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
