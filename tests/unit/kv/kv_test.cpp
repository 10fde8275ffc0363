// Are blocks accounted exactly, and do their bytes survive a move?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

#include "kv/allocator.h"
#include "kv/checksum.h"
#include "kv/pool.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;

TEST(BlockPool, every_block_has_one_owner_or_is_free) {
  BlockPool pool(64);
  std::mt19937 random(7);
  std::set<uint64_t> live;
  for (int i = 0; i < 2000; ++i) {
    const SeqId seq{random() % 12};
    if (random() % 3 == 0 && live.contains(seq.value)) {
      pool.give_back(seq);
      live.erase(seq.value);
    } else {
      const int32_t n = std::min<int32_t>(static_cast<int32_t>(random() % 5), pool.free());
      pool.take(seq, n);
      if (n > 0) live.insert(seq.value);
    }
    std::set<BlockIndex> seen;
    size_t owned = 0;
    for (const uint64_t s : live) {
      for (const BlockIndex b : pool.owned({s})) seen.insert(b);
      owned += pool.owned({s}).size();
    }
    ASSERT_EQ(seen.size(), owned) << "two owners of one block";
    ASSERT_EQ(static_cast<int32_t>(owned) + pool.free(), pool.total());
    ASSERT_EQ(static_cast<size_t>(pool.owners()), live.size());
  }
}

TEST(BlockPool, a_sequence_keeps_its_blocks_in_order) {
  BlockPool pool(8);
  EXPECT_THAT(pool.take({1}, 2), ElementsAre(0, 1));
  EXPECT_THAT(pool.take({2}, 1), ElementsAre(2));
  EXPECT_THAT(pool.take({1}, 1), ElementsAre(0, 1, 3));
  EXPECT_TRUE(pool.owned({9}).empty());
}

TEST(BlockPoolDeathTest, taking_more_than_is_free_stops_the_process) {
  BlockPool pool(2);
  pool.take({1}, 2);
  EXPECT_DEATH(pool.take({2}, 1), "free blocks");
}

TEST(BlockPoolDeathTest, giving_back_twice_stops_the_process) {
  BlockPool pool(2);
  pool.take({1}, 2);
  pool.give_back({1});
  EXPECT_DEATH(pool.give_back({1}), "owns no blocks");
}

TEST(KvPool, layers_of_a_block_follow_each_other_and_blocks_do_not_touch) {
  const KvLayout layout = mla_layout(DType::bf16, 3, 9, 4);
  EXPECT_EQ(layout.block_bytes, 3 * 4 * 9 * 2);
  auto pool = KvPool::make(layout, 5);
  ASSERT_TRUE(pool.ok());
  const LatentCache first = pool->layer(0, 7, 2), second = pool->layer(1, 7, 2);
  EXPECT_EQ(static_cast<std::byte*>(second.base) - static_cast<std::byte*>(first.base), 4 * 9 * 2);
  EXPECT_EQ(pool->block(1).data() - pool->block(0).data(), first.block_stride * 2);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(pool->block(3).data()) % 64, 0u);
  std::memset(pool->block(2).data(), 0xab, pool->block(2).size());
  for (const BlockIndex other : {1, 3})
    for (const std::byte b : pool->block(other)) ASSERT_EQ(b, std::byte{0});
}

TEST(KvPool, keys_and_values_of_all_heads_are_one_layer_wide) {
  const KvLayout layout = gqa_layout(DType::f32, 2, 3, 4, 8);
  EXPECT_EQ(layout.block_bytes, 2 * 8 * (2 * 3 * 4) * 4);
  auto pool = KvPool::make(layout, 2);
  ASSERT_TRUE(pool.ok());
  const KvCache layer = pool->kv_layer(1, 3, 4);
  EXPECT_EQ(static_cast<std::byte*>(layer.base) - pool->block(0).data(), 8 * 24 * 4);
  EXPECT_EQ(layer.heads, 3);
  EXPECT_EQ(layer.dim, 4);
}

TEST(KvPool, latents_of_8_bits_bring_their_scales_and_a_bf16_rope_key) {
  const KvLayout layout = int8_mla_layout(3, 512, 64, 16);
  EXPECT_EQ(layout.dtype, "int8");
  EXPECT_EQ(layout.width, 576);
  EXPECT_EQ(layout.block_bytes, 3 * 16 * (512 + 64 * 2 + 8 * 4)) << "58 % of bf16";
  auto pool = KvPool::make(layout, 2);
  ASSERT_TRUE(pool.ok());
  const LatentCache last = pool->layer(2, 512, 64);
  EXPECT_EQ(last.dtype, DType::i8);
  EXPECT_EQ(static_cast<std::byte*>(last.base) - pool->block(0).data(), 2 * 16 * 672);
  EXPECT_EQ(last.block_stride, pool->block(1).data() - pool->block(0).data());
}

TEST(KvPool, more_than_the_machine_has_is_refused_naming_the_setting) {
  const auto pool = KvPool::make(mla_layout(DType::f32, 61, 576, 64), 2'000'000'000);
  ASSERT_FALSE(pool.ok());
  EXPECT_EQ(pool.error().code, Code::resource_exhausted);
  EXPECT_EQ(pool.error().field, "kv_blocks");
}

TEST(KvPoolDeathTest, a_block_outside_the_pool_stops_the_process) {
  auto pool = KvPool::make(mla_layout(DType::f32, 1, 4, 4), 2);
  ASSERT_TRUE(pool.ok());
  EXPECT_DEATH(static_cast<void>(pool->block(2)), "block 2 of 2");
}

TEST(Checksum, one_flipped_bit_changes_it) {
  std::vector<std::byte> bytes(4096);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31);
  const uint64_t before = block_checksum(bytes);
  EXPECT_EQ(before, block_checksum(bytes));
  for (const size_t at : {size_t{0}, size_t{2047}, size_t{4095}}) {
    bytes[at] ^= std::byte{16};
    EXPECT_NE(before, block_checksum(bytes)) << at;
    bytes[at] ^= std::byte{16};
  }
}

}  // namespace
}  // namespace fathom
