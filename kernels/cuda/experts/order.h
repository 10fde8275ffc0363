// In which order do the tensor cores meet the columns of an expert's weights? A thread fetches 16
// columns of a row at once, where wgmma would have it pick pairs from all over; sums do not care,
// as long as tokens keep the same order. So activations are stored in that order, 64 columns at a
// time, and weights stay as they are. Plain arithmetic, tested on the CPU.
#pragma once

#include <cstdint>

#include "kernels/cuda/experts/plan.h"

namespace fathom::cuda {

inline constexpr int kOrderBlock = 64;

// Of the four columns that a thread gives to one product (16 deep), e4m3 decodes two pairs: columns
// (0, 2) and (1, 3), as bytes lie in a word. bf16: (0, 1) and (2, 3).
//
// Column of the activation stored at `place` of a block of 64; and back.
FATHOM_ANYWHERE constexpr int column_at(int place, bool e4m3) {
  const int product = place / 16, half = place / 8 % 2, thread = place % 8 / 2, second = place % 2;
  return thread * 16 + product * 4 + (e4m3 ? second * 2 + half : half * 2 + second);
}
FATHOM_ANYWHERE constexpr int place_of(int column, bool e4m3) {
  const int thread = column / 16, product = column % 16 / 4, low = column % 2,
            high = column / 2 % 2;
  const int half = e4m3 ? low : high, second = e4m3 ? high : low;
  return product * 16 + half * 8 + thread * 2 + second;
}

// Rows of weights that a thread of a warp (lane / 4) takes of eight neighbours, so that
// neighbouring threads read other banks of shared memory.
FATHOM_ANYWHERE constexpr int row_of_eight(int lane, bool e4m3) {
  const int group = lane / 4;
  return e4m3 ? group / 2 + group % 2 * 4 : group;
}

// e4m3 is decoded by moving its bits into bf16, which leaves the value times 2^-120. Activations
// are kept times 2^60, scales make up for the other half: nothing comes near the ends of float32.
inline constexpr float kActivationFactor = 0x1p60f;
inline constexpr float kScaleFactor = 0x1p60f;

}  // namespace fathom::cuda
