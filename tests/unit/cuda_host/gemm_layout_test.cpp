// Is the index arithmetic of the GPU's matrix products right everywhere? Each output has one owner,
// each byte one place, each k one part, each tile one turn: checked one by one, without a GPU.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "kernels/cuda/gemm/layout.h"

namespace fathom::cuda::gemm {
namespace {

TEST(GemmLayout, every_output_of_a_slab_has_one_thread_and_accumulator) {
  for (const int tokens : {8, 16, 32, 64, 128, 256}) {
    std::vector<int> owners(static_cast<size_t>(kSlabRows * tokens));
    for (int t = 0; t < 128; ++t)
      for (int i = 0; i < tokens / 2; ++i) {
        ASSERT_LT(slab_row(t, i), kSlabRows);
        ASSERT_LT(slab_token(t, i), tokens);
        ++owners[static_cast<size_t>(slab_row(t, i) * tokens + slab_token(t, i))];
      }
    EXPECT_EQ(owners, std::vector<int>(owners.size(), 1));
  }
}

// A warp's four pairs of bytes at one k lie in different banks for all of its 8 rows.
TEST(GemmLayout, swizzle_permutes_bytes_and_spreads_a_column_over_all_banks) {
  std::set<int> places;
  for (int r = 0; r < 64; ++r)
    for (int b = 0; b < 128; ++b) {
      EXPECT_EQ(swizzled(r, b) / 128, r);
      places.insert(swizzled(r, b));
    }
  EXPECT_EQ(places.size(), 64u * 128u);
  for (int b = 0; b < 128; b += 16) {
    std::set<int> banks;
    for (int r = 0; r < 8; ++r) banks.insert(swizzled(r, b) % 128 / 16);
    EXPECT_EQ(banks.size(), 8u);
  }
}

TEST(GemmLayout, parts_cover_k_in_order_and_none_is_empty) {
  for (int rows = 1; rows < 10000; rows += rows < 300 ? 1 : 61)
    for (int cols = 1; cols < 20000; cols += cols < 1100 ? 7 : 333) {
      const int parts = parts_of(rows, cols), blocks = up_div(cols, kBlockDepth);
      ASSERT_TRUE(parts >= 1 && parts <= 8);
      ASSERT_EQ(part_begin(blocks, parts, 0), 0);
      ASSERT_EQ(part_begin(blocks, parts, parts), blocks);
      for (int p = 0; p < parts; ++p)
        ASSERT_LT(part_begin(blocks, parts, p), part_begin(blocks, parts, p + 1))
            << rows << ' ' << cols;
    }
}

TEST(GemmLayout, products_of_deepseek_v3_run_in_one_wave) {
  EXPECT_EQ(parts_of(2112, 7168), 6);
  EXPECT_EQ(parts_of(4096, 7168), 4);
  EXPECT_EQ(parts_of(7168, 16384), 2);
  EXPECT_EQ(parts_of(24576, 1536), 1);
}

TEST(GemmLayout, owner_is_the_quotient) {
  for (int each = 1; each <= 256; ++each)
    for (int token = 0; token < 256; ++token)
      ASSERT_EQ(owner_of(token, reciprocal(each)), token / each);
}

TEST(GemmLayout, every_tile_has_one_turn) {
  for (int row_tiles = 1; row_tiles < 70; ++row_tiles)
    for (const int token_tiles : {1, 2, 3, 7, 16, 33}) {
      std::set<std::pair<int, int>> seen;
      for (int i = 0; i < row_tiles * token_tiles; ++i) {
        const TilePlace place = tile_place(i, row_tiles, token_tiles);
        ASSERT_TRUE(place.row_tile >= 0 && place.row_tile < row_tiles);
        ASSERT_TRUE(place.token_tile >= 0 && place.token_tile < token_tiles);
        seen.insert({place.row_tile, place.token_tile});
      }
      ASSERT_EQ(seen.size(), static_cast<size_t>(row_tiles * token_tiles));
    }
}

}  // namespace
}  // namespace fathom::cuda::gemm
