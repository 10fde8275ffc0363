#include "kernels/cpu/span_rows.h"

#include <algorithm>

namespace fathom::cpu {
namespace {

// Widened a row at a time by way of float32, which keeps bf16 as it is.
void copy_rows(const Inner& inner, const PagedRows& cache, std::span<const BlockIndex> blocks,
               int32_t first, int32_t count, uint16_t* copy) {
  const auto padded = static_cast<int32_t>(round_up(cache.width, 32));
  Weight view{.dtype = cache.dtype,
              .rows = cache.block_tokens,
              .cols = cache.width,
              .row_stride = cache.row_stride};
  constexpr int32_t kMost = 1024;
  float row[kMost];
  for (int32_t i = 0; i < count; ++i) {
    const int64_t block = blocks[static_cast<size_t>((first + i) / cache.block_tokens)];
    if (cache.dtype == DType::i8) {
      inner.spans->widen_latent(static_cast<const uint8_t*>(cache.base) +
                                    block * cache.block_stride +
                                    (first + i) % cache.block_tokens * cache.row_stride,
                                cache.rank, cache.width - cache.rank, copy + int64_t{i} * padded);
      continue;
    }
    for (int32_t at = 0; at < cache.width; at += kMost) {
      view.cols = std::min(kMost, cache.width - at);
      view.data = static_cast<const char*>(cache.base) +
                  (block * cache.block_stride + at) * dtype_bytes(cache.dtype);
      inner.widen(view, (first + i) % cache.block_tokens, false, row);
      inner.pack(row, view.cols, std::min(kMost, padded - at), copy + int64_t{i} * padded + at);
    }
  }
}

}  // namespace

SpanRows span_rows(const Inner& inner, const PagedRows& cache, std::span<const BlockIndex> blocks,
                   int32_t first, int32_t count, uint16_t* copy) {
  const bool in_place =
      cache.dtype == DType::bf16 && cache.block_tokens % kGroup == 0 && cache.width % 32 == 0;
  SpanRows rows{.groups = {},
                .stride = in_place ? cache.row_stride : round_up(cache.width, 32),
                .count = count};
  if (!in_place) copy_rows(inner, cache, blocks, first, count, copy);
  for (int32_t g = 0; g < kSpanGroups; ++g) {
    // Groups behind the last one are multiplied along with it, so they must be readable.
    const int32_t group = std::min(g, (count - 1) / kGroup), position = first + group * kGroup;
    rows.groups[g] = copy + group * kGroup * rows.stride;
    if (!in_place) continue;
    const int64_t block = blocks[static_cast<size_t>(position / cache.block_tokens)];
    rows.groups[g] = static_cast<const uint16_t*>(cache.base) + block * cache.block_stride +
                     position % cache.block_tokens * cache.row_stride;
  }
  return rows;
}

}  // namespace fathom::cpu
