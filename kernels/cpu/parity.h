// How are products taken where a vector holds eight floats? A sum has sixteen lanes (inner.h), two
// vectors: the even and the odd lanes. The two never meet before the very last addition of their
// tree, so one pass over the columns takes the even ones and a second, over the same run in L1, the
// odd ones. An accumulator is then one register, and tiles of 6 x 2 or 4 x 3 fit into sixteen. The
// order of every lane's sum, and so every bit, is that of `dots`.
//
// Even and odd also come for nothing: 32 bits of stored bf16 hold one of each. Rows of x are packed
// once per call into the order in which weights fall out of their storage.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace fathom {

inline constexpr int32_t kParityStep = 16;   // columns
inline constexpr int32_t kParityTile = 6;    // rows of x at most
inline constexpr int32_t kParityPanel = 36;  // weight rows that stay in cache while all of x passes

// Rows of activations: [tiles][even, odd][steps][rows of the tile][8 lanes], zeros behind the last
// column; or, for e4m3, as bytes.h has them.
struct ParityRows {
  const float* data = nullptr;
  int32_t count = 0;
  int32_t cols = 0;
  bool bytes = false;

  static ParityRows of(const Weight& w, int32_t count) {
    return {nullptr, count, w.cols, w.dtype == DType::f8_e4m3};
  }
  int32_t step() const { return bytes ? 2 * kParityStep : kParityStep; }  // columns
  int32_t steps() const { return (cols + step() - 1) / step(); }
  int64_t floats() const { return int64_t{count} * steps() * step(); }
  // Tiles are of nearly equal numbers of rows.
  int32_t tiles() const { return (count + kParityTile - 1) / kParityTile; }
  int32_t tile_begin(int32_t t) const { return static_cast<int32_t>(int64_t{count} * t / tiles()); }
  int64_t tile_at(int32_t t) const { return int64_t{tile_begin(t)} * steps() * step(); }
};

struct ParityPack {  // tile t of x
  ParityRows x;
  int32_t tile = 0;
  const float* const* rows = nullptr;  // those of the tile, x.cols each
  bool round = false;                  // to bf16
  float* out = nullptr;                // where the tile begins
};

struct ParityProduct {  // y[r, o] = sum_k x[r, k] w[first + o, k] for o in [0, outs)
  ParityRows x;
  Weight w;
  int32_t first = 0;
  int32_t outs = 0;
  bool round = false;  // f16 and float32 weights are rounded to bf16
  float* y = nullptr;
  int64_t y_stride = 0;
  float* panel = nullptr;  // workspace of parity_panel_floats(w.cols)
  // What the caller multiplies next, for it may be fetched meanwhile: its rows from next_first on.
  Weight next = {};
  int32_t next_first = 0;
};

constexpr int64_t parity_panel_floats(int32_t cols) {
  return int64_t{kParityPanel} * ((cols + kParityStep - 1) / kParityStep * kParityStep) +
         2 * ((cols + 31) / 32 * 32) + 8'192;
}

struct Parity {
  void (*pack)(const ParityPack&);
  void (*multiply)(const ParityProduct&);
};

// Whether this way is the faster one: a few rows times float32 or f16 are not repaid for the panel.
constexpr bool parity_takes(DType dtype, int32_t rows) {
  return dtype == DType::bf16 || dtype == DType::f8_e4m3 || rows > 3;
}

// Null when this build has no such file.
const Parity* parity_avx2();

// Packs tile `tile` of x behind `data`, where tile 0 begins; row(r) is row r of x.
template <class Row>
void pack_tile(const ParityRows& x, int32_t tile, bool round, float* data, const Row& row) {
  const float* rows[kParityTile];
  const int32_t begin = x.tile_begin(tile);
  for (int32_t r = begin; r < x.tile_begin(tile + 1); ++r) rows[r - begin] = row(r);
  parity_avx2()->pack(
      {.x = x, .tile = tile, .rows = rows, .round = round, .out = data + x.tile_at(tile)});
}

}  // namespace fathom
