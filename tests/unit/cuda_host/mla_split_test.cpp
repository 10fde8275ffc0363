// Are contexts of absorbed attention cut at absolute positions, wholly and within the memory that
// there is for sums?
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cuda/mla/split.h"

namespace fathom::cuda::mla {
namespace {

TEST(MlaSplit, cuts_every_context_and_keeps_to_the_budget) {
  for (const int heads : {1, 16, 32, 33, 64, 128}) {
    EXPECT_EQ(split_length(heads) % kTile, 0);
    EXPECT_LE(split_length(heads), 64 * kBlockUnit);  // the copying warp holds 64 units of blocks
    for (const int limit : {0, 1, 511, 512, 513, 1024, 1025, 131072}) {
      const int n = splits_of(limit, split_length(heads));
      EXPECT_GE(n * split_length(heads), limit);
      EXPECT_LT((n - 1) * split_length(heads), std::max(limit, 1));
    }
  }
  EXPECT_EQ(splits_of(-1, 512), 0);
  EXPECT_EQ(rows_at_once(5, 128, 1, int64_t{512} << 20), 5);
  EXPECT_EQ(rows_at_once(500, 128, 128, int64_t{512} << 20), 16);
  EXPECT_EQ(rows_at_once(500, 128, 100000, int64_t{1} << 20), 1);
}

}  // namespace
}  // namespace fathom::cuda::mla
