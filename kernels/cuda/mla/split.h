// How is a context cut among thread blocks? Into splits at absolute positions, whose length depends
// on the number of heads alone: a row gives the same bits in every batch. Plain arithmetic: kernels
// and tests on the CPU share it.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm/layout.h"

namespace fathom::cuda::mla {

inline constexpr int kRank = 512, kRope = 64, kWidth = kRank + kRope;
inline constexpr int kNope = 128, kValue = 128;
inline constexpr int kTile = 64;       // positions of one step of the kernel
inline constexpr int kHeadTile = 64;   // heads of one thread block: the M of wgmma
inline constexpr int kBlockUnit = 16;  // blocks of the cache are multiples of it

// Positions of one split. A split leaves heads x 2 KB of float32 sums behind, which are written and
// read once more, beside the 1152 bytes of each position: 512 positions cost 11 % of the traffic at
// 16 heads; 1024 positions 22 % at 64.
constexpr FATHOM_BOTH int split_length(int heads) { return heads <= 32 ? 512 : 1024; }
constexpr FATHOM_BOTH int splits_of(int limit, int length) {
  return limit <= 0 ? 0 : (limit + length - 1) / length;
}

// Rows whose sums are in memory at one time: at most `budget` bytes of sums, at least one row.
constexpr int rows_at_once(int rows, int heads, int splits, int64_t budget) {
  const int64_t row = int64_t{heads} * kRank * 4 * (splits > 0 ? splits : 1);
  const int64_t most = budget / row;
  return most < 1 ? 1 : most < rows ? static_cast<int>(most) : rows;
}

}  // namespace fathom::cuda::mla
