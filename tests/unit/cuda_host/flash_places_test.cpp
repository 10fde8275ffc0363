// Is the index arithmetic of prompts' attention right everywhere? Each byte of an image has one
// place, each block of queries one turn, each tile one owner: checked one by one, without a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "kernels/cuda/flash/places.h"

namespace fathom::cuda::flash {
namespace {

TEST(FlashPlaces, every_chunk_of_an_image_has_one_place_as_the_swizzle_wants_it) {
  for (const int rows : {64, 128}) {
    constexpr int kPieces = 3;
    std::set<int> places;
    for (int row = 0; row < rows; ++row)
      for (int chunk = 0; chunk < 8 * kPieces; ++chunk) {
        const int place = chunk_place(rows, row, chunk);
        EXPECT_EQ(place % (rows * 128), gemm::swizzled(row, chunk % 8 * 16));
        EXPECT_EQ(place / (rows * 128), chunk / 8);
        places.insert(place);
      }
    EXPECT_EQ(places.size(), static_cast<size_t>(rows * 8 * kPieces));
  }
}

TEST(FlashPlaces, every_head_and_block_is_one_item_and_every_item_one_turn) {
  for (const int heads : {1, 3, 16, 17, 128})
    for (const int blocks : {1, 2, 31, 64}) {
      std::set<std::pair<int, int>> seen;
      for (int i = 0; i < heads * blocks; ++i) {
        const Item item = item_at(i, heads, blocks);
        ASSERT_TRUE(item.head >= 0 && item.head < heads && item.block >= 0 && item.block < blocks);
        seen.insert({item.head, item.block});
      }
      EXPECT_EQ(seen.size(), static_cast<size_t>(heads * blocks));
    }
  for (const int grid : {1, 2, 132})
    for (const int items : {0, 1, 131, 132, 133, 512, 527}) {
      std::vector<int> turns(static_cast<size_t>(items));
      for (int block = 0; block < grid; ++block)
        for (int round = 0; round * grid < items; ++round) {
          const int item = item_of_round(round, block, grid);
          if (item >= items) break;
          ++turns[static_cast<size_t>(item)];
        }
      EXPECT_EQ(turns, std::vector<int>(static_cast<size_t>(items), 1));
    }
}

// 16 heads of 4096 rows: a block sees as many tiles as it is late. No thread block gets more than a
// twentieth above the mean.
TEST(FlashPlaces, thread_blocks_of_a_causal_prompt_end_together) {
  constexpr int kHeads = 16, kBlocks = 32, kGrid = 132;
  int most = 0, all = 0;
  for (int block = 0; block < kGrid; ++block) {
    int tiles = 0;
    for (int round = 0; round * kGrid < kHeads * kBlocks; ++round) {
      const int index = item_of_round(round, block, kGrid);
      if (index < kHeads * kBlocks) tiles += item_at(index, kHeads, kBlocks).block + 1;
    }
    most = std::max(most, tiles);
    all += tiles;
  }
  EXPECT_LE(most, all / kGrid * 21 / 20) << "mean " << all / kGrid;
}

TEST(FlashPlaces, owner_of_a_tile_is_the_run_it_was_counted_for) {
  const std::vector<int> counts = {3, 0, 1, 0, 0, 5, 1};
  std::vector<int32_t> before = {0};
  for (const int count : counts) before.push_back(before.back() + count);
  int index = 0;
  for (size_t run = 0; run < counts.size(); ++run)
    for (int i = 0; i < counts[run]; ++i, ++index)
      EXPECT_EQ(owner_of(before.data(), static_cast<int>(counts.size()), index),
                static_cast<int>(run));
}

}  // namespace
}  // namespace fathom::cuda::flash
