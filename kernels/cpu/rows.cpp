// What is done to rows one at a time? Embedding, feeding tokens, gathering, norm, rotation, writing
// the cache, SwiGLU and adding. Each row (for add: each element) stands alone, so any cut over
// lanes gives the same bits.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/latent_i8.h"
#include "kernels/cpu/operations.h"

namespace fathom::cpu {

void embed(const Inner& inner, const OpContext& ctx, const EmbedParams& p) {
  const auto rows = static_cast<int32_t>(p.tokens.size());
  const int64_t width = p.table.cols;
  share_rows(ctx, rows, rows * width, [&](int32_t t) {
    const int32_t row = p.tokens[static_cast<size_t>(t)] - p.first_row;
    float* out = p.out + t * width;
    if (row < 0 || row >= p.table.rows)
      std::memset(out, 0, static_cast<size_t>(width) * sizeof(float));
    else
      inner.widen(p.table, row, false, out);
  });
}

void feed_tokens(const Inner&, const OpContext&, const FeedTokensParams& p) {
  for (int32_t i = 0; i < p.rows; ++i)
    if (p.from[i] >= 0) p.tokens[i] = p.drawn[p.from[i]];
}

void rms_norm(const Inner& inner, const OpContext& ctx, const RmsNormParams& p) {
  Workspace workspace(ctx);
  float* weight = workspace.take<float>(p.width);
  inner.widen(p.weight, 0, false, weight);
  float* out = floats(p.out, p.out_dtype);
  share_rows(ctx, p.rows, int64_t{p.rows} * p.width * 2, [&](int32_t r) {
    const float* x = p.x + r * p.x_stride;
    const float mean = inner.sum_squares(x, p.width) / static_cast<float>(p.width);
    inner.scale_by(x, weight, 1.0f / std::sqrt(mean + p.eps), p.width, out + r * p.out_stride);
  });
}

void add_norm(const Inner& inner, const OpContext& ctx, const AddNormParams& p) {
  add(inner, ctx, {.x = p.x, .y = p.add, .count = int64_t{p.rows} * p.width});
  rms_norm(inner, ctx,
           {.x = p.x,
            .x_stride = p.width,
            .weight = p.weight,
            .eps = p.eps,
            .rows = p.rows,
            .width = p.width,
            .out = p.out,
            .out_dtype = p.out_dtype,
            .out_stride = p.out_stride});
}

void add_bias(const Inner& inner, const OpContext& ctx, const AddBiasParams& p) {
  share_rows(ctx, p.rows, int64_t{p.rows} * p.width,
             [&](int32_t r) { inner.add(p.y + int64_t{r} * p.width, p.bias, p.width); });
}

void gather_rows(const Inner&, const OpContext& ctx, const GatherRowsParams& p) {
  share_rows(ctx, p.rows, int64_t{p.rows} * p.width, [&](int32_t r) {
    std::copy_n(p.x + p.from[r] * p.x_stride, p.width, p.out + int64_t{r} * p.width);
  });
}

void rope(const Inner&, const OpContext& ctx, const RopeParams& p) {
  Workspace workspace(ctx);
  const int32_t pairs = p.width / 2;
  const int32_t step = p.halves ? 1 : 2, apart = p.halves ? pairs : 1;
  auto* turns = workspace.take<float>(int64_t{p.rows} * pairs * 2);
  share_rows(ctx, p.rows, int64_t{p.rows} * pairs * (40 + 4 * p.heads), [&](int32_t t) {
    float* turn = turns + int64_t{t} * pairs * 2;
    for (int32_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(p.positions[t]) * p.frequencies[i];
      turn[2 * i] = std::cos(angle) * p.magnitude;
      turn[2 * i + 1] = std::sin(angle) * p.magnitude;
    }
    for (int32_t h = 0; h < p.heads; ++h) {
      float* x = p.x + t * p.row_stride + h * p.head_stride;
      for (int32_t i = 0; i < pairs; ++i) {
        float& first = x[step * i];
        float& second = x[step * i + apart];
        const float a = first, b = second, c = turn[2 * i], s = turn[2 * i + 1];
        first = a * c - b * s;
        second = a * s + b * c;
      }
    }
  });
}

void cache_write(const Inner& inner, const OpContext& ctx, const CacheWriteParams& p) {
  const int64_t width = latent_stride(p.cache.dtype, p.cache.rank, p.cache.rope);
  share_rows(ctx, p.rows, p.rows * width, [&](int32_t t) {
    if (p.slots[t] < 0) return;
    const int64_t block = p.slots[t] / p.cache.block_tokens;
    const int64_t at = block * p.cache.block_stride + p.slots[t] % p.cache.block_tokens * width;
    const float* latent = p.latent + t * p.latent_stride;
    const float* key = p.rope_key + t * p.rope_stride;
    if (p.cache.dtype == DType::f32) {
      float* to = static_cast<float*>(p.cache.base) + at;
      std::copy_n(latent, p.cache.rank, to);
      std::copy_n(key, p.cache.rope, to + p.cache.rank);
    } else if (p.cache.dtype == DType::i8) {
      quantise_latent(latent, key, p.cache.rank, p.cache.rope,
                      static_cast<uint8_t*>(p.cache.base) + at);
    } else {
      auto* to = static_cast<uint16_t*>(p.cache.base) + at;
      inner.pack(latent, p.cache.rank, p.cache.rank, to);
      inner.pack(key, p.cache.rope, p.cache.rope, to + p.cache.rank);
    }
  });
}

void mla_prepare(const Inner& inner, const OpContext& ctx, const MlaPrepareParams& p) {
  if (p.q.rows > 0) rms_norm(inner, ctx, p.q);
  const LatentWriteParams& l = p.latent;
  if (l.rows == 0) return;
  const int32_t rank = l.cache.rank, width = l.cache.rope;
  Workspace workspace(ctx);
  float* latents = workspace.take<float>(int64_t{l.rows} * rank);
  float* keys = workspace.take<float>(int64_t{l.rows} * width);
  rms_norm(inner, ctx,
           {.x = l.x,
            .x_stride = l.x_stride,
            .weight = l.weight,
            .eps = l.eps,
            .rows = l.rows,
            .width = rank,
            .out = latents,
            .out_stride = rank});
  for (int32_t t = 0; t < l.rows; ++t)
    std::copy_n(l.x + t * l.x_stride + rank, width, keys + int64_t{t} * width);
  rope(inner, ctx,
       {.x = keys,
        .row_stride = width,
        .rows = l.rows,
        .heads = 1,
        .width = width,
        .positions = l.positions,
        .frequencies = l.frequencies,
        .magnitude = l.magnitude,
        .halves = l.halves});
  cache_write(inner, ctx,
              {.latent = latents,
               .latent_stride = rank,
               .rope_key = keys,
               .rope_stride = width,
               .rows = l.rows,
               .slots = l.slots,
               .cache = l.cache});
}

void kv_write(const Inner& inner, const OpContext& ctx, const KvWriteParams& p) {
  const int64_t all = int64_t{p.cache.heads} * p.cache.dim;
  const int32_t width = p.heads * p.cache.dim;
  share_rows(ctx, p.rows, int64_t{p.rows} * width * 2, [&](int32_t t) {
    if (p.slots[t] < 0) return;
    const int64_t block = p.slots[t] / p.cache.block_tokens;
    const int64_t at = block * p.cache.block_stride + p.slots[t] % p.cache.block_tokens * 2 * all +
                       int64_t{p.first_head} * p.cache.dim;
    const float* k = p.k + t * p.k_stride;
    const float* v = p.v + t * p.v_stride;
    if (p.cache.dtype == DType::f32) {
      std::copy_n(k, width, static_cast<float*>(p.cache.base) + at);
      std::copy_n(v, width, static_cast<float*>(p.cache.base) + at + all);
    } else {
      inner.pack(k, width, width, static_cast<uint16_t*>(p.cache.base) + at);
      inner.pack(v, width, width, static_cast<uint16_t*>(p.cache.base) + at + all);
    }
  });
}

void swiglu(const Inner& inner, const OpContext& ctx, const SwigluParams& p) {
  float* out = floats(p.out, p.out_dtype);
  share_rows(ctx, p.rows, int64_t{p.rows} * p.width * 8, [&](int32_t r) {
    inner.swiglu(p.gate + r * p.in_stride, p.up + r * p.in_stride, p.width, out + r * p.out_stride);
  });
}

void add(const Inner& inner, const OpContext& ctx, const AddParams& p) {
  constexpr int64_t kPiece = 16384;
  const auto pieces = static_cast<int32_t>((p.count + kPiece - 1) / kPiece);
  share_rows(ctx, pieces, p.count, [&](int32_t i) {
    const int64_t at = i * kPiece;
    inner.add(p.x + at, p.y + at, std::min(kPiece, p.count - at));
  });
}

}  // namespace fathom::cpu
