// How does AMX multiply tiles? Weights are the left factor: up to four tiles of tokens pass over
// sixteen weight rows that are read straight from the matrix, once, while memory is the limit; more
// tokens go over panels of 32 weight rows by 384 columns that are copied (FP8: decoded) into L1.
// Either way an element is summed step by step in the same order;
// FP8 sums are taken per scale block and multiplied into a float32 sum, so the way does not show.
#include "kernels/cpu/tiles.h"

#include <cstring>

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VBMI__)
#include <immintrin.h>

#include "kernels/cpu/tile_factors.h"

namespace fathom {
namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int32_t kSums = kTileEdge * kTileEdge;  // floats of a tile of sums
constexpr int32_t kNarrow = 4;                    // tiles of tokens that pass over weights in place
constexpr int32_t kPanelSteps = 12;
constexpr int32_t kAhead = 10;  // steps

// The compiler does not know that tile loads read memory.
void settle() { asm volatile("" ::: "memory"); }

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums, 4 and 5 weights, 6 and 7 tokens.
struct TilesInUse {
  explicit TilesInUse(int32_t width) {
    TileConfig config;
    for (int i = 0; i < 8; ++i) {
      config.rows[i] = 16;
      config.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? 64 : 4 * width);
    }
    settle();
    _tile_loadconfig(&config);
  }
  ~TilesInUse() { _tile_release(); }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

// The scales of sixteen rows over one block of columns.
struct RowScales {
  const float* first;  // of row 0, block 0
  int64_t stride;
  int32_t edge;  // rows before the next block of rows begins

  RowScales(const Weight& w, int32_t row)
      : first(w.scale + (row + w.scale_row) / kScaleBlock * w.scale_stride),
        stride(w.scale_stride),
        edge(kScaleBlock - (row + w.scale_row) % kScaleBlock) {}
  bool same(int32_t rows) const { return edge >= rows; }
  float of(int32_t i, int32_t b) const { return i < edge ? first[b] : first[stride + b]; }
};

// sums += scale * part, for `width` tokens of each row.
template <int32_t W>
void add_scaled(const RowScales& scales, int32_t rows, int32_t b, const float* part, float* sums) {
  if (scales.same(rows)) {
    const __m512 s = _mm512_set1_ps(scales.first[b]);
    for (int32_t i = 0; i < W; ++i)
      _mm512_store_ps(sums + i * 16, _mm512_fmadd_ps(_mm512_load_ps(part + i * 16), s,
                                                     _mm512_load_ps(sums + i * 16)));
    return;
  }
  const __mmask16 mask = first_of_16(W);
  for (int32_t i = 0; i < rows; ++i) {
    const __m512 more = _mm512_maskz_loadu_ps(mask, part + i * W);
    const __m512 so_far = _mm512_maskz_loadu_ps(mask, sums + i * W);
    _mm512_mask_storeu_ps(sums + i * W, mask,
                          _mm512_fmadd_ps(more, _mm512_set1_ps(scales.of(i, b)), so_far));
  }
}

// ---- sums

// [16 weight rows, W tokens] to y, of which `tokens` and `outs` exist.
template <int32_t W>
void write_out(const float* sums, int32_t tokens, int32_t outs, float* y, int64_t y_stride) {
  const __mmask16 mask = first_of_16(outs);
  if constexpr (W == 1) {
    _mm512_mask_storeu_ps(y, mask, _mm512_load_ps(sums));
    return;
  }
  __m512i r[16];
  const __mmask16 width = first_of_16(W);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_maskz_loadu_epi32(width, sums + i * W);
  transpose(r);
#pragma GCC unroll 16
  for (int t = 0; t < W; ++t)
    if (t < tokens) _mm512_mask_storeu_epi32(y + t * y_stride, mask, r[t]);
}

template <int32_t W>
void write_tile(const TileProduct& p, int32_t o, int32_t token, const float* sums) {
  const int32_t outs = p.outs - o < 16 ? p.outs - o : 16;
  const int32_t tokens = p.x.count - token < 16 ? p.x.count - token : 16;
  write_out<W>(sums, tokens, outs, p.y + token * p.y_stride + o, p.y_stride);
}

// The sums of one tile of weights and T tiles of tokens: 0 .. T, or, as the second set, 2 .. 2 + T.
template <int T, bool Second = false>
void step(const void* weights, int64_t weight_stride, const uint16_t* tokens, int64_t tile_words,
          int64_t token_stride) {
  static_assert(T <= (Second ? 2 : 4));
  _tile_loadd(4, weights, weight_stride);
  _tile_loadd(6, tokens, token_stride);
  if constexpr (Second)
    _tile_dpbf16ps(2, 4, 6);
  else
    _tile_dpbf16ps(0, 4, 6);
  if constexpr (T > 1) {
    _tile_loadd(7, tokens + tile_words, token_stride);
    if constexpr (Second)
      _tile_dpbf16ps(3, 4, 7);
    else
      _tile_dpbf16ps(1, 4, 7);
  }
  if constexpr (T > 2) {
    _tile_loadd(6, tokens + 2 * tile_words, token_stride);
    _tile_dpbf16ps(2, 4, 6);
  }
  if constexpr (T > 3) {
    _tile_loadd(7, tokens + 3 * tile_words, token_stride);
    _tile_dpbf16ps(3, 4, 7);
  }
}

template <int T, bool Second = false>
void zero_sums() {
  if constexpr (Second) {
    _tile_zero(2);
    if constexpr (T > 1) _tile_zero(3);
    return;
  }
  _tile_zero(0);
  if constexpr (T > 1) _tile_zero(1);
  if constexpr (T > 2) _tile_zero(2);
  if constexpr (T > 3) _tile_zero(3);
}

template <int T, bool Second = false>
void store_sums(float* to, int64_t stride) {
  if constexpr (Second) {
    _tile_stored(2, to, stride);
    if constexpr (T > 1) _tile_stored(3, to + kSums, stride);
    return;
  }
  _tile_stored(0, to, stride);
  if constexpr (T > 1) _tile_stored(1, to + kSums, stride);
  if constexpr (T > 2) _tile_stored(2, to + 2 * kSums, stride);
  if constexpr (T > 3) _tile_stored(3, to + 3 * kSums, stride);
}

// ---- few tokens: weights in place

// T tiles of W tokens.
template <int T, int32_t W>
struct Narrow {
  static constexpr int64_t kTokenStride = 4 * W;
  static constexpr int64_t kStepWords = kTileCols * W;
  const TileProduct& p;
  int32_t steps;
  int64_t tile_words;
  uint16_t* tiles;  // workspace: a group's steps
  alignas(64) float sums[T * kSums];
  alignas(64) float part[T * kSums];

  explicit Narrow(const TileProduct& product)
      : p(product),
        steps(p.x.steps.count()),
        tile_words(p.x.tile_words()),
        tiles(static_cast<uint16_t*>(p.workspace)) {}

  void run() {
    const TilesInUse config(W);
    if (p.w.dtype == DType::f8_e4m3) return fp8_groups();
    for (int32_t o = 0; o < p.outs; o += kTileEdge) {
      const int32_t rows = rows_from(o);
      if (p.w.dtype == DType::bf16 && rows == kTileEdge)
        bf16_group(o);
      else
        copied_group(o, rows);
      write_group(o);
    }
  }

  int32_t rows_from(int32_t o) const { return p.outs - o < kTileEdge ? p.outs - o : kTileEdge; }
  void write_group(int32_t o) {
    for (int32_t t = 0; t < T; ++t) write_tile<W>(p, o, t * kTileEdge, sums + t * kSums);
  }
  void one(const void* weights, int64_t stride, int32_t s) {
    step<T>(weights, stride, p.x.data + s * kStepWords, tile_words, kTokenStride);
  }

  void bf16_group(int32_t o) {
    const int64_t stride = p.w.row_stride * 2;
    const char* from = static_cast<const char*>(p.w.data) + (p.first + o) * stride;
    const int32_t whole = p.w.cols / kTileCols;
    const bool more = o + 2 * kTileEdge <= p.outs;
    zero_sums<T>();
    for (int32_t s = 0; s < whole; ++s) {
      const char* ahead = from + (s + kAhead) * 64;
      if (s + kAhead >= whole) ahead += more ? 16 * stride - whole * 64 : -kAhead * 64;
      for (int32_t i = 0; i < 16; ++i) _mm_prefetch(ahead + i * stride, _MM_HINT_T0);
      one(from + s * 64, stride, s);
    }
    if (whole < steps) {
      copy_tile(p.w, p.first + o, kTileEdge, whole * kTileCols, tiles);
      settle();
      one(tiles, 64, whole);
    }
    store_sums<T>(sums, kTokenStride);
  }

  void copied_group(int32_t o, int32_t rows) {
    zero_sums<T>();
    for (int32_t s = 0; s < steps; ++s) {
      uint16_t* tile = tiles + s % 8 * kTile;
      copy_tile(p.w, p.first + o, rows, s * kTileCols, tile);
      settle();
      one(tile, 64, s);
    }
    store_sums<T>(sums, kTokenStride);
  }

  // Sixteen rows of one block of columns.
  struct Block {
    int32_t o, b;
  };
  Block after(Block at) const {
    return at.b + 1 < p.x.steps.blocks() ? Block{at.o, at.b + 1} : Block{at.o + kTileEdge, 0};
  }

  // While a block is multiplied the next one is decoded and the sums of the one before are scaled,
  // so that none of them waits for another: hence two sets of sums, where there are tiles for them.
  void fp8_groups() {
    constexpr bool kTwo = T <= 2;
    const Fp8Decoder decoder;
    Block now{0, 0}, before{0, 0};
    fetch_second();
    decode(decoder, now, tiles);
    for (int32_t i = 0; now.o < p.outs; ++i) {
      const Block next = after(now);
      if (next.o < p.outs) {
        decode(decoder, next, tiles + (i + 1) % 3 * 4 * kTile);
      }
      settle();
      if (!kTwo || i % 2 == 0)
        multiply_block<false>(now, tiles + i % 3 * 4 * kTile);
      else
        multiply_block<kTwo>(now, tiles + i % 3 * 4 * kTile);
      if constexpr (!kTwo)
        scale_block<false>(now);
      else if (i % 2 == 0)
        i > 0 ? scale_block<true>(before) : void();
      else
        scale_block<false>(before);
      before = now;
      now = next;
    }
    if constexpr (kTwo) {
      const int32_t count = (p.outs + kTileEdge - 1) / kTileEdge * p.x.steps.blocks();
      count % 2 == 0 ? scale_block<true>(before) : scale_block<false>(before);
    }
  }

  // Decoding fetches two blocks ahead; nobody fetched the second.
  void fetch_second() const {
    if (p.x.steps.blocks() < 2) return;
    const char* from =
        static_cast<const char*>(p.w.data) + p.first * p.w.row_stride + p.x.steps.block_begin(1);
    for (int32_t i = 0; i < rows_from(0); ++i, from += p.w.row_stride) {
      _mm_prefetch(from, _MM_HINT_T0);
      _mm_prefetch(from + 64, _MM_HINT_T0);
    }
  }

  void decode(const Fp8Decoder& decoder, Block at, uint16_t* tile) const {
    const Block later = after(after(at));
    const int64_t distance = (later.o - at.o) * p.w.row_stride + p.x.steps.block_begin(later.b) -
                             p.x.steps.block_begin(at.b);
    decode_block(decoder, p.w, p.x.steps, p.first + at.o, rows_from(at.o), at.b,
                 later.o + kTileEdge <= p.outs ? distance : 0, tile);
  }

  template <bool Second>
  void multiply_block(Block at, const uint16_t* tile) {
    const int32_t end = p.x.steps.step_of_block(at.b + 1);
    zero_sums<T, Second>();
    for (int32_t s = p.x.steps.step_of_block(at.b); s < end; ++s, tile += kTile)
      step<T, Second>(tile, 64, p.x.data + s * kStepWords, tile_words, kTokenStride);
  }

  template <bool Second>
  void scale_block(Block at) {
    store_sums<T, Second>(part, kTokenStride);
    if (at.b == 0)
      for (float& sum : sums) sum = 0;
    const RowScales scales(p.w, p.first + at.o);
    for (int32_t t = 0; t < T; ++t)
      add_scaled<W>(scales, rows_from(at.o), at.b, part + t * kSums, sums + t * kSums);
    if (at.b + 1 == p.x.steps.blocks()) write_group(at.o);
  }
};

// ---- many tokens: panels of weights

constexpr int32_t kPanelTiles = 2;  // of weight rows

// Rows of the next panel's weights, of which every step fetches as much into L2 as it multiplies.
struct Ahead {
  const char* from = nullptr;
  int64_t stride = 0;
  int32_t rows = 0;
  int32_t step_bytes = 0;
};

// Sums of 2 tiles of weights and N of tokens over `steps` tiles of a panel. The panel stays in L1
// while tokens stream past it.
template <int N>
void panel_steps(const uint16_t* panel, int32_t steps, const uint16_t* x, int64_t tile_words,
                 const Ahead& ahead) {
  const uint16_t* second = panel + kPanelSteps * kTile;
  const char* next = ahead.from;
  for (int32_t s = 0; s < steps; ++s, panel += kTile, second += kTile, x += kTile) {
    for (int32_t i = 0; i < ahead.rows; ++i) _mm_prefetch(next + i * ahead.stride, _MM_HINT_T1);
    _tile_stream_loadd(6, x, 64);
    _tile_loadd(4, panel, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, second, 64);
    _tile_dpbf16ps(1, 5, 6);
    if constexpr (N > 1) {
      _tile_stream_loadd(7, x + tile_words, 64);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

template <int N>
void load_sums(const float* from) {
  _tile_loadd(0, from, 64);
  _tile_loadd(1, from + kSums, 64);
  if constexpr (N > 1) {
    _tile_loadd(2, from + 2 * kSums, 64);
    _tile_loadd(3, from + 3 * kSums, 64);
  }
}

struct Wide {
  const TileProduct& p;
  int64_t tile_words;
  uint16_t* panel;  // [2 tiles of rows][kPanelSteps]
  float* sums;      // [tiles of tokens][2 tiles of rows]
  explicit Wide(const TileProduct& product)
      : p(product),
        tile_words(p.x.tile_words()),
        panel(static_cast<uint16_t*>(p.workspace)),
        sums(reinterpret_cast<float*>(panel + kPanelTiles * kPanelSteps * kTile)) {}

  void run() {
    const TilesInUse config(kTileEdge);
    const Fp8Decoder decoder;
    const auto tiles = static_cast<int32_t>(TileTokens::tiles(p.x.count));
    for (int32_t o = 0; o < p.outs; o += kPanelTiles * kTileEdge) {
      if (p.w.dtype == DType::f8_e4m3)
        fp8_panel(decoder, o, tiles);
      else
        plain_panel(o, tiles);
    }
  }

  int32_t rows_from(int32_t o) const {
    const int32_t rows = p.outs - o;
    return rows < 0 ? 0 : rows < kTileEdge ? rows : kTileEdge;
  }
  const uint16_t* tokens(int32_t tile, int32_t s) const {
    return p.x.data + tile * tile_words + int64_t{s} * kTile;
  }

  // What of columns [next, ...) of the rows from o on, or, behind the last column, of the next
  // rows, is fetched while tiles i and i + 1 of `tiles` pass: their share of the rows.
  Ahead ahead(int32_t o, int32_t next, int32_t i, int32_t tiles) const {
    if (next >= p.w.cols) {
      next = 0;
      o += kPanelTiles * kTileEdge;
    }
    const int32_t pairs = (tiles + 1) / 2, share = (kPanelTiles * kTileEdge + pairs - 1) / pairs;
    const int32_t row = o + i / 2 * share, left = p.outs - row;
    const int64_t bytes = dtype_bytes(p.w.dtype);
    return {.from = static_cast<const char*>(p.w.data) +
                    ((p.first + row) * p.w.row_stride + next) * bytes,
            .stride = p.w.row_stride * bytes,
            .rows = left < 0       ? 0
                    : left < share ? left
                                   : share};
  }

  void write_sums(const float* here, int32_t o, int32_t tile, int32_t count) const {
    for (int32_t i = 0; i < count; ++i)
      for (int32_t h = 0; h < kPanelTiles && o + h * kTileEdge < p.outs; ++h)
        write_tile<kTileEdge>(p, o + h * kTileEdge, (tile + i) * kTileEdge,
                              here + (i * kPanelTiles + h) * kSums);
  }

  void plain_panel(int32_t o, int32_t count) {
    const int32_t steps = p.x.steps.count();
    for (int32_t s = 0; s < steps; s += kPanelSteps) {
      const int32_t n = steps - s < kPanelSteps ? steps - s : kPanelSteps;
      for (int32_t h = 0; h < kPanelTiles; ++h)
        copy_tiles(p.w, p.first + o + h * kTileEdge, rows_from(o + h * kTileEdge), s * kTileCols, n,
                   panel + h * kPanelSteps * kTile);
      settle();
      for (int32_t i = 0; i < count; i += 2) {
        float* here = sums + i * kPanelTiles * kSums;
        const Ahead next = ahead(o, (s + n) * kTileCols, i, count);
        count - i > 1 ? plain_sums<2>(here, s == 0, n, tokens(i, s), next)
                      : plain_sums<1>(here, s == 0, n, tokens(i, s), next);
        if (s + n == steps) write_sums(here, o, i, count - i > 1 ? 2 : 1);
      }
    }
  }

  template <int N>
  void plain_sums(float* here, bool fresh, int32_t steps, const uint16_t* x, const Ahead& next) {
    if (fresh)
      zero_sums<2 * N>();
    else
      load_sums<N>(here);
    panel_steps<N>(panel, steps, x, tile_words, next);
    store_sums<2 * N>(here, 64);
  }

  // As many scale blocks at a time as fill the panel.
  void fp8_panel(const Fp8Decoder& decoder, int32_t o, int32_t count) {
    constexpr int32_t kBlocks = kPanelSteps / 4;
    const TileSteps& cut = p.x.steps;
    const int32_t blocks = cut.blocks();
    for (int32_t i = 0; i < count * kPanelTiles * kSums; ++i) sums[i] = 0;
    for (int32_t b = 0; b < blocks; b += kBlocks) {
      const int32_t end = b + kBlocks < blocks ? b + kBlocks : blocks;
      for (int32_t h = 0; h < kPanelTiles; ++h)
        for (int32_t j = b; j < end; ++j)
          decode_block(decoder, p.w, cut, p.first + o + h * kTileEdge, rows_from(o + h * kTileEdge),
                       j, 0, panel + (h * kPanelSteps + (j - b) * 4) * kTile);
      settle();
      for (int32_t i = 0; i < count; i += 2) {
        float* here = sums + i * kPanelTiles * kSums;
        Ahead next = ahead(o, cut.block_end(end - 1), i, count);
        count - i > 1 ? fp8_sums<2>(here, o, b, end, i, next)
                      : fp8_sums<1>(here, o, b, end, i, next);
        if (end == blocks) write_sums(here, o, i, count - i > 1 ? 2 : 1);
      }
    }
  }

  template <int N>
  void fp8_sums(float* here, int32_t o, int32_t begin, int32_t end, int32_t t, Ahead next) {
    alignas(64) float part[2 * N * kSums];
    const TileSteps& cut = p.x.steps;
    for (int32_t b = begin; b < end; ++b) {
      const int32_t s = cut.step_of_block(b);
      zero_sums<2 * N>();
      panel_steps<N>(panel + (b - begin) * 4 * kTile, cut.step_of_block(b + 1) - s, tokens(t, s),
                     tile_words, next);
      next.from += kScaleBlock;
      store_sums<2 * N>(part, 64);
      for (int32_t i = 0; i < 2 * N; ++i) {
        const int32_t row = o + i % 2 * kTileEdge;
        if (rows_from(row) > 0)
          add_scaled<kTileEdge>(RowScales(p.w, p.first + row), rows_from(row), b, part + i * kSums,
                                here + i * kSums);
      }
    }
  }
};

void multiply(const TileProduct& p) {
  switch (p.x.width) {
    case 1:
      return Narrow<1, 1>(p).run();
    case 4:
      return Narrow<1, 4>(p).run();
    case 8:
      return Narrow<1, 8>(p).run();
    default:
      break;
  }
  const auto tiles = TileTokens::tiles(p.x.count);
  if (tiles == 1) return Narrow<1, kTileEdge>(p).run();
  // Two rows of tiles are decoded for every two of tokens, so that these pass half as often.
  if (tiles > kNarrow || p.w.dtype == DType::f8_e4m3) return Wide(p).run();
  if (tiles == 2) return Narrow<2, kTileEdge>(p).run();
  if (tiles == 3) return Narrow<3, kTileEdge>(p).run();
  return Narrow<4, kTileEdge>(p).run();
}

int64_t burst(int64_t steps, float* sink) {
  const TilesInUse config(kTileEdge);
  zero_sums<4>();
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t s = 0; s < steps; ++s) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    _tile_dpbf16ps(2, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float sums[kSums];
  _tile_stored(0, sums, 64);
  *sink = sums[0];
  return steps * 4 * kTileEdge * kTile;
}

constexpr Tiles kTiles = {.pack = pack, .multiply = multiply, .burst = burst};

}  // namespace

int64_t tile_workspace(int32_t tokens) {
  return kPanelTiles * (kPanelSteps + TileTokens::tiles(tokens)) * kTileBytes;
}

const Tiles* tiles_amx() { return &kTiles; }

}  // namespace fathom

#else

namespace fathom {

int64_t tile_workspace(int32_t) { return 0; }
const Tiles* tiles_amx() { return nullptr; }

}  // namespace fathom

#endif
