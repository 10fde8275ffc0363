// Do blocks stay whole where each rank's heads lie on a device of their own?
#include "kv/divided_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "kernels/cpu/host_device.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using Source = KvDivision::Source;

TEST(KvDivision, every_head_has_one_source_and_every_rank_finds_its_heads_in_its_pool) {
  const std::vector<RankKv> ranks = {{0, {0, 2}}, {1, {1, 2}}, {2, {2, 2}}};
  const KvDivision got = divide_kv(ranks, 4);
  EXPECT_THAT(got.held, ElementsAre(KvHeads{0, 2}, KvHeads{1, 2}, KvHeads{2, 2}));
  EXPECT_THAT(got.sources, ElementsAre(Source{0, {0, 2}}, Source{2, {2, 2}}));
}

TEST(KvDivision, ranks_that_share_a_pool_may_leave_a_gap_in_it_that_another_fills) {
  const std::vector<RankKv> ranks = {{0, {0, 1}}, {1, {1, 1}}, {0, {2, 1}}, {1, {3, 1}}};
  const KvDivision got = divide_kv(ranks, 4);
  EXPECT_THAT(got.held, ElementsAre(KvHeads{0, 3}, KvHeads{1, 3}));
  EXPECT_THAT(got.sources, ElementsAre(Source{0, {0, 1}}, Source{1, {1, 1}}, Source{0, {2, 1}},
                                       Source{1, {3, 1}}));
}

TEST(KvDivision, of_one_pool_a_block_is_one_piece) {
  const std::vector<RankKv> ranks = {{0, {0, 0}}, {0, {0, 1}}, {0, {1, 2}}};
  const KvDivision got = divide_kv(ranks, 3);
  EXPECT_THAT(got.held, ElementsAre(KvHeads{0, 3}));
  EXPECT_THAT(got.sources, ElementsAre(Source{0, {0, 3}}));
}

TEST(KvDivisionDeathTest, a_head_that_nobody_writes_stops_the_process) {
  const std::vector<RankKv> ranks = {{0, {0, 1}}, {1, {2, 1}}};
  EXPECT_DEATH(divide_kv(ranks, 3), "no rank writes key-value head 1");
}

// Key (or value) head `head` of `token` in `layer`, where it stands in a pool that holds `held`.
float* head_at(const KvPool& pool, KvHeads held, int32_t dim, BlockIndex block, int32_t layer,
               int32_t token, bool value, int32_t head) {
  const KvCache cache = pool.kv_layer(layer, held.count, dim);
  const int64_t all = int64_t{held.count} * dim;
  return static_cast<float*>(cache.base) + block * cache.block_stride + token * 2 * all +
         (value ? all : 0) + int64_t{head - held.first} * dim;
}

TEST(DividedPool, blocks_come_apart_and_together_head_by_head) {
  constexpr int32_t kLayers = 3, kHeads = 5, kDim = 4, kTokens = 2, kBlocks = 3;
  const KvLayout layout = gqa_layout(DType::f32, kLayers, kHeads, kDim, kTokens);
  const std::vector<RankKv> ranks = {{0, {0, 2}}, {1, {1, 3}}, {2, {3, 2}}};
  const auto device = make_host_device();
  const std::vector<Device*> devices(3, device.get());
  DividedPool kv(layout, kHeads, divide_kv(ranks, kHeads));
  EXPECT_LT(kv.stride(0), block_stride(layout) / 2) << "a pool pays for its heads only";
  ASSERT_TRUE(kv.start(kBlocks, devices).ok());

  // A whole block as one pool would have it.
  auto whole = KvPool::make(layout, kBlocks);
  ASSERT_TRUE(whole.ok());
  std::mt19937 random(3);
  for (BlockIndex block = 0; block < kBlocks; ++block) {
    for (std::byte& b : whole->block(block)) b = static_cast<std::byte>(random());
    ASSERT_TRUE(kv.write(block, whole->block(block)).ok());
  }
  const auto same = [&](int32_t pool, BlockIndex block, int32_t layer, int32_t token, bool value,
                        int32_t head) {
    return std::memcmp(
               head_at(kv.pool(pool), kv.held(pool), kDim, block, layer, token, value, head),
               head_at(*whole, {0, kHeads}, kDim, block, layer, token, value, head),
               kDim * sizeof(float)) == 0;
  };
  for (int32_t pool = 0; pool < 3; ++pool)
    for (BlockIndex block = 0; block < kBlocks; ++block)
      for (int32_t layer = 0; layer < kLayers; ++layer)
        for (int32_t token = 0; token < kTokens; ++token)
          for (const bool value : {false, true})
            for (int32_t head = kv.held(pool).first; head < kv.held(pool).end(); ++head)
              ASSERT_TRUE(same(pool, block, layer, token, value, head))
                  << pool << " " << block << " " << layer << " " << token << " " << head;

  std::vector<std::byte> out(static_cast<size_t>(layout.block_bytes));
  for (BlockIndex block = 0; block < kBlocks; ++block) {
    ASSERT_TRUE(kv.read(block, out).ok());
    EXPECT_TRUE(std::ranges::equal(out, whole->block(block)));
  }
}

TEST(DividedPool, latents_are_whole_in_every_pool) {
  const KvLayout layout = int8_mla_layout(2, 64, 8, 4);
  const auto device = make_host_device();
  const std::vector<RankKv> ranks = {{0, {0, 1}}, {1, {0, 1}}};
  DividedPool kv(layout, 1, divide_kv(ranks, 1));
  EXPECT_EQ(kv.stride(1), block_stride(layout));
  ASSERT_TRUE(kv.start(2, std::vector<Device*>(2, device.get())).ok());
  std::vector<std::byte> in(static_cast<size_t>(layout.block_bytes)), out(in.size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 7);
  ASSERT_TRUE(kv.write(1, in).ok());
  for (int32_t pool = 0; pool < 2; ++pool) {
    ASSERT_TRUE(kv.pool(pool).read(1, out).ok());
    EXPECT_EQ(out, in);
  }
}

}  // namespace
}  // namespace fathom
