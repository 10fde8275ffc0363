// How are products with e4m3 weights taken where a vector holds eight floats? As the weights are
// stored: 32 bytes of a row fall apart into four vectors, those of columns 4 i, 4 i + 2, 4 i + 1
// and 4 i + 3 for i below 8, which are multiplied with the same columns of x one after the other
// and added to the same eight lanes. A code is a float whose exponent is too small by 120 once its
// bits are in place; that, and the block's scale, are multiplied into x, once for the 128 rows of
// weights that share their scales.
//
// y = 2^45 * sum (q * 2^-120) * (x * (scale * 2^75)): one rounding per product, as in x * (q *
// scale). A magnitude of x * scale beyond 2^53 overflows and leaves infinity or no number in y,
// never a wrong one.
#pragma once

#include "kernels/cpu/parity.h"

namespace fathom {

inline constexpr int32_t kBytesStep = 32;   // columns
inline constexpr int32_t kBytesPanel = 64;  // weight rows that pass while a run of x is in L1
// Together what codes are too small by.
inline constexpr float kBytesIntoX = 0x1p75f, kBytesOutOfY = 0x1p45f;
inline constexpr int32_t kBytesRun = 6'144;  // floats of a run of x: 24 KB of L1

// Rows of a panel that is decoded to bf16: 256 KB of L2, and an even number.
constexpr int32_t decoded_rows(int32_t cols) {
  const int32_t rows = (1 << 17) / ((cols + kBytesStep - 1) / kBytesStep * kBytesStep) / 2 * 2;
  return rows > kBytesPanel ? kBytesPanel : rows < 8 ? 8 : rows;
}

// Defined in bytes_avx2.cpp alone, of a tile and of a product with x.bytes.
void pack_for_bytes(const ParityPack&);
void multiply_bytes(const ParityProduct&);
// Whether x can carry the scales of the block that weight row `row` is in.
bool bytes_fit(const Weight& w, int32_t row);

}  // namespace fathom
