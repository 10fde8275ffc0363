// Is a latent of 8 bits what was written, as exactly as 8 bits can say it, and is attention over it
// attention over those values? The bytes are the same from every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/latent_i8.h"
#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

struct Shape {
  int32_t heads, nope, rope, value, rank, block_tokens;
};
constexpr Shape kShapes[] = {
    {4, 32, 16, 24, 64, 16}, {11, 10, 6, 7, 33, 5}, {18, 48, 16, 80, 160, 32}};

// `positions` random latents of one sequence, as bytes of 8-bit blocks and as the float32 blocks
// they stand for.
struct Caches {
  Shape shape;
  std::vector<float> latents, keys, widened;
  std::vector<uint8_t> bytes;
  std::vector<BlockIndex> blocks;
  int64_t stride, width;

  Caches(const Machine& m, const Shape& s, int32_t positions)
      : shape(s), stride(latent_stride(DType::i8, s.rank, s.rope)), width(s.rank + s.rope) {
    latents = naive::random_floats(static_cast<size_t>(positions * s.rank), 3, 0.7f);
    keys = naive::random_floats(static_cast<size_t>(positions * s.rope), 4);
    const int32_t count = (positions + s.block_tokens - 1) / s.block_tokens;
    for (int32_t b = 0; b < count; ++b) blocks.push_back(2 * (count - b) - 1);
    bytes.assign(static_cast<size_t>(2 * count * s.block_tokens * stride), 0xFF);
    widened.assign(static_cast<size_t>(2 * count * s.block_tokens * width), NAN);
    std::vector<int64_t> slots;
    for (int32_t t = 0; t < positions; ++t) slots.push_back(slot(t));
    m.ops.cache_write(m.ctx, {.latent = latents.data(),
                              .latent_stride = s.rank,
                              .rope_key = keys.data(),
                              .rope_stride = s.rope,
                              .rows = positions,
                              .slots = slots.data(),
                              .cache = view()});
    for (int32_t t = 0; t < positions; ++t)
      cpu::widen_latent(&bytes[static_cast<size_t>(slot(t) * stride)], s.rank, s.rope,
                        &widened[static_cast<size_t>(slot(t) * width)]);
  }
  int64_t slot(int32_t t) const {
    return int64_t{blocks[static_cast<size_t>(t / shape.block_tokens)]} * shape.block_tokens +
           t % shape.block_tokens;
  }
  LatentCache view() {
    return {bytes.data(),       DType::i8,  shape.block_tokens * stride,
            shape.block_tokens, shape.rank, shape.rope};
  }
  LatentCache plain() {
    return {widened.data(),     DType::f32, shape.block_tokens * width,
            shape.block_tokens, shape.rank, shape.rope};
  }
};

class LatentI8 : public testing::TestWithParam<std::string> {};

TEST_P(LatentI8, values_come_back_within_half_a_step_and_rope_keys_as_bf16) {
  const Machine m(GetParam().c_str());
  for (const Shape& s : kShapes) {
    const Caches c(m, s, 50);
    for (int32_t t = 0; t < 50; ++t) {
      const float* got = &c.widened[static_cast<size_t>(c.slot(t) * c.width)];
      const float* latent = &c.latents[static_cast<size_t>(t * s.rank)];
      for (int32_t i = 0; i < s.rank; ++i) {
        float largest = 0;
        for (int32_t j = i / 64 * 64; j < std::min(s.rank, i / 64 * 64 + 64); ++j)
          largest = std::max(largest, std::abs(latent[j]));
        ASSERT_NEAR(got[i], latent[i], largest / 127 * 0.5001f);
      }
      for (int32_t i = 0; i < s.rope; ++i)
        ASSERT_EQ(got[s.rank + i],
                  naive::rounded_bf16(c.keys[static_cast<size_t>(t * s.rope + i)]));
    }
    EXPECT_EQ(c.bytes, Caches(Machine("portable"), s, 50).bytes);
  }
}

TEST_P(LatentI8, attention_has_the_bits_of_attention_over_the_values_it_stands_for) {
  for (const Compute compute : {Compute::float32, Compute::bfloat16})
    for (const Shape& s : kShapes) {
      const Machine m(GetParam().c_str(), 2, compute);
      Caches c(m, s, 600);
      const auto kv_b = naive::random_weight(DType::bf16, s.heads * (s.nope + s.value), s.rank, 7);
      const int32_t q_width = s.heads * (s.nope + s.rope), out_width = s.heads * s.value;
      const auto q = naive::random_floats(static_cast<size_t>(20 * q_width), 8);
      const AttentionSequence sequence{
          .first_row = 0, .rows = 20, .position = 580, .blocks = c.blocks};
      for (const bool absorbed : {true, false}) {
        const auto attend = [&](const LatentCache& cache) {
          std::vector<float> out(static_cast<size_t>(20 * out_width));
          const MlaParams p{.sequences = {&sequence, 1},
                            .q = q.data(),
                            .q_stride = q_width,
                            .heads = s.heads,
                            .nope = s.nope,
                            .value = s.value,
                            .kv_b = kv_b.view,
                            .cache = cache,
                            .scale = 0.2f,
                            .out = out.data(),
                            .out_stride = out_width};
          absorbed ? m.ops.mla_absorbed(m.ctx, p) : m.ops.mla_expanded(m.ctx, p);
          return out;
        };
        const auto got = attend(c.view());
        ASSERT_EQ(got, attend(c.plain())) << (absorbed ? "absorbed" : "expanded");
        for (const float v : got) ASSERT_TRUE(std::isfinite(v));
      }
    }
}

TEST(LatentI8Damage, what_is_no_number_comes_back_as_no_number) {
  std::vector<float> latent(100, 1.0f), key(2, 0.0f), out(102);
  std::vector<uint8_t> bytes(static_cast<size_t>(latent_stride(DType::i8, 100, 2)));
  for (const float bad : {NAN, std::numeric_limits<float>::infinity()}) {
    latent[70] = bad;
    cpu::quantise_latent(latent.data(), key.data(), 100, 2, bytes.data());
    cpu::widen_latent(bytes.data(), 100, 2, out.data());
    EXPECT_TRUE(std::isnan(out[70]));
    EXPECT_NEAR(out[5], 1.0f, 0.01f) << "the other group is whole";
  }
}

INSTANTIATE_TEST_SUITE_P(AllTables, LatentI8, testing::ValuesIn(naive::tables()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace fathom
