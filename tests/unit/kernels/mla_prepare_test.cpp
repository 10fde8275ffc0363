// Is what stands between compressed projections and attention the norm, the rotation and the
// storing of the separate operations, to the bit, for every table?
#include <gtest/gtest.h>

#include "naive.h"

namespace fathom {
namespace {

using naive::Machine;

TEST(MlaPrepare, stores_what_norm_rope_and_cache_write_store) {
  for (const std::string& table : naive::tables())
    for (const DType dtype : {DType::f32, DType::bf16, DType::i8}) {
      Machine m(table.c_str());
      const int32_t rows = 5, rank = 100, rope = 6, width = rank + rope, tokens = 4, q_width = 48;
      auto x = naive::random_floats(rows * width, 1);
      const auto q = naive::random_floats(rows * q_width, 2);
      const auto weight = naive::random_weight(DType::bf16, 1, rank, 3);
      const auto q_weight = naive::random_weight(DType::f32, 1, q_width, 4);
      const std::vector<int32_t> positions = {0, 1, 77, 4095, 100000};
      const std::vector<float> frequencies = {1.0f, 0.1f, 0.001f};
      const std::vector<int64_t> slots = {0, 3, 11, 4, 6};
      const int64_t stride = tokens * latent_stride(dtype, rank, rope) + 8;
      std::vector<uint8_t> together(static_cast<size_t>(3 * stride * dtype_bytes(dtype)), 0xEE);
      auto apart = together;
      std::vector<float> q_together(q.size()), q_apart(q.size());
      const RmsNormParams q_norm{.x = q.data(),
                                 .x_stride = q_width,
                                 .weight = q_weight.view,
                                 .rows = rows,
                                 .width = q_width,
                                 .out = q_together.data(),
                                 .out_stride = q_width};
      const auto before = x;
      m.ops.mla_prepare(
          m.ctx, {.q = q_norm,
                  .latent = {.x = x.data(),
                             .x_stride = width,
                             .weight = weight.view,
                             .rows = rows,
                             .positions = positions.data(),
                             .frequencies = frequencies.data(),
                             .magnitude = 1.25f,
                             .slots = slots.data(),
                             .cache = {together.data(), dtype, stride, tokens, rank, rope}}});
      EXPECT_EQ(x, before) << "the projection stays as it is";

      auto q_alone = q_norm;
      q_alone.out = q_apart.data();
      m.ops.rms_norm(m.ctx, q_alone);
      EXPECT_EQ(q_together, q_apart);
      std::vector<float> normed(rows * rank);
      m.ops.rms_norm(m.ctx, {.x = x.data(),
                             .x_stride = width,
                             .weight = weight.view,
                             .rows = rows,
                             .width = rank,
                             .out = normed.data(),
                             .out_stride = rank});
      m.ops.rope(m.ctx, {.x = x.data() + rank,
                         .row_stride = width,
                         .rows = rows,
                         .heads = 1,
                         .width = rope,
                         .positions = positions.data(),
                         .frequencies = frequencies.data(),
                         .magnitude = 1.25f});
      m.ops.cache_write(m.ctx, {.latent = normed.data(),
                                .latent_stride = rank,
                                .rope_key = x.data() + rank,
                                .rope_stride = width,
                                .rows = rows,
                                .slots = slots.data(),
                                .cache = {apart.data(), dtype, stride, tokens, rank, rope}});
      EXPECT_EQ(together, apart) << table << ' ' << static_cast<int>(dtype);
      m.ops.mla_prepare(m.ctx, {});  // nothing to do
    }
}

}  // namespace
}  // namespace fathom
