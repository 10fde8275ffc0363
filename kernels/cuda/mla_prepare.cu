// What happens to the compressed projections of an MLA layer before attention? Blocks of two kinds
// in one launch, a row each: one norms queries; the other norms a latent, turns its rope key and
// stores both in the cache. Separately they are four launches of almost nothing but waiting.
#include "base/check.h"
#include "kernels/cuda/latent_bytes.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/quantise.h"
#include "kernels/cuda/turn.h"

namespace fathom::cuda {
namespace {

struct PrepareArgs {
  RmsNormParams q;
  LatentWriteParams latent;
  int32_t q_threads, latent_threads;
};

template <bool kFast>
__device__ void norm_queries(const PrepareArgs& args, const NormWeight<kFast>& weight,
                             int64_t row) {
  const RmsNormParams& p = args.q;
  const float* x = p.x + row * p.x_stride;
  void* out = row_of(p.out, p.out_dtype, row, p.out_stride);
  const auto read = [&](int32_t i) { return load_quad<kFast>(x, i, p.width); };
  norm_row(
      weight, p.eps, args.q_threads, read, [](int32_t, const Quad&) {}, read,
      [&](int32_t i, const Quad& q) {
        store_quad<kFast>(out, p.out_dtype, i, p.width, q);
        if constexpr (kFast)
          if (p.codes.codes != nullptr)
            store_quantised(p.codes, row, i, p.width, as_kept(q, p.out_dtype));
      });
}

// int8 in groups of kLatentGroup values, which are 16 neighbouring threads' quads.
struct Int8Token {
  uint8_t* scales;
  int8_t* values;
  int32_t rank;

  __device__ void store(int32_t i, const Quad& q) const {
    float largest = 0, poison = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i + j < rank) {
        largest = fmaxf(largest, fabsf(q.v[j]));
        poison += q.v[j] * 0.0f;
      }
#pragma unroll
    for (int apart = 8; apart > 0; apart /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, apart));
      poison += __shfl_xor_sync(~0u, poison, apart);
    }
    if (i >= rank) return;
    const float scale = byte_scale(largest, poison), inverse = byte_inverse(scale);
    if (i % kLatentGroup == 0) *reinterpret_cast<float*>(scales + i / kLatentGroup * 4) = scale;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (i + j < rank) values[i + j] = to_byte(q.v[j], inverse);
  }
};

// Threads at the block's end turn the key, those at its beginning norm.
template <bool kFast>
__device__ void write_latent(const PrepareArgs& args, const NormWeight<kFast>& weight,
                             int64_t row) {
  const LatentWriteParams& p = args.latent;
  const int32_t rank = p.cache.rank, rope = p.cache.rope;
  const bool int8 = p.cache.dtype == DType::i8;
  const ByteToken layout{rank, rope};
  const int64_t width = int8 ? layout.size() : rank + rope;
  const float* x = p.x + row * p.x_stride;
  const int64_t slot = p.slots[row];
  const bool stored = slot >= 0;
  const int64_t block = stored ? slot / p.cache.block_tokens : 0;
  const int64_t at =
      stored ? block * p.cache.block_stride + (slot - block * p.cache.block_tokens) * width : 0;
  auto* bytes = static_cast<uint8_t*>(p.cache.base) + at * (int8                           ? 1
                                                            : p.cache.dtype == DType::bf16 ? 2
                                                                                           : 4);

  const auto position = static_cast<float>(p.positions[row]);
  const DType key_dtype = int8 ? DType::bf16 : p.cache.dtype;
  void* keys = int8 ? bytes + layout.keys() : bytes;
  const int32_t first_key = int8 ? 0 : rank;
  const auto threads = static_cast<int32_t>(blockDim.x);
  for (int32_t i = threads - 1 - static_cast<int32_t>(threadIdx.x); i < rope / 2; i += threads) {
    const int32_t a = p.halves ? i : 2 * i, b = p.halves ? i + rope / 2 : 2 * i + 1;
    float first = x[rank + a], second = x[rank + b];
    const Turn t = turn_by(__fmul_rn(position, p.frequencies[i]));
    turn_pair(first, second, __fmul_rn(t.cosine, p.magnitude), __fmul_rn(t.sine, p.magnitude));
    if (!stored) continue;
    store(keys, key_dtype, first_key + a, first);
    store(keys, key_dtype, first_key + b, second);
  }
  const int32_t count = stored ? rank : 0;
  const Int8Token token{bytes, reinterpret_cast<int8_t*>(bytes + layout.values()), count};
  if (int8 && stored && threadIdx.x == 0)
    for (int32_t i = layout.used(); i < width; ++i) bytes[i] = 0;  // part of a block's bytes
  const auto read = [&](int32_t i) { return load_quad<kFast>(x, i, rank); };
  norm_row(
      weight, p.eps, args.latent_threads, read, [](int32_t, const Quad&) {}, read,
      [&](int32_t i, const Quad& q) {
        if (int8)
          token.store(i, q);
        else
          store_quad<kFast>(bytes, p.cache.dtype, i, count, q);
      });
}

// Blocks of y 0 norm queries and those of y 1 write latents, or all do where there are no queries.
template <bool kFast>
__global__ void __launch_bounds__(kNormThreads) prepare_rows(const PrepareArgs args) {
  const bool queries = blockIdx.y == 0 && args.q.rows > 0;
  const NormWeight<kFast> weight(queries ? args.q.weight : args.latent.weight,
                                 queries ? args.q_threads : args.latent_threads);
  wait_for_previous();
  const int64_t row = blockIdx.x;
  if (queries && row < args.q.rows) norm_queries<kFast>(args, weight, row);
  if (!queries && row < args.latent.rows) write_latent<kFast>(args, weight, row);
}

}  // namespace

void mla_prepare(const OpContext& ctx, const MlaPrepareParams& p) {
  CHECK(p.latent.cache.rank <= kNormThreads * kNormKept * 4, "an int8 group is of one warp");
  PrepareArgs args{.q = p.q, .latent = p.latent};
  LatentWriteParams& latent = args.latent;
  args.q.weight.cols = p.q.width;
  latent.weight.cols = latent.cache.rank;
  args.q_threads = norm_threads(p.q.width);
  args.latent_threads = norm_threads(latent.cache.rank);
  const LatentCache& c = latent.cache;
  const bool fast_q = fast_norm(args.q.weight, p.q.width) &&
                      whole_rows(p.q.x, DType::f32, p.q.x_stride, p.q.width) &&
                      whole_rows(p.q.out, p.q.out_dtype, p.q.out_stride, p.q.width);
  const bool whole_tokens =
      c.dtype == DType::i8 ||
      (whole_rows(c.base, c.dtype, c.block_stride, c.rank) && c.rope % 4 == 0);
  const bool fast_latent = fast_norm(latent.weight, c.rank) && whole_tokens &&
                           whole_rows(latent.x, DType::f32, latent.x_stride, c.rank);
  const bool fast = (p.q.rows <= 0 || fast_q) && (latent.rows <= 0 || fast_latent);
  const int32_t threads =
      std::max(p.q.rows > 0 ? args.q_threads : 0, latent.rows > 0 ? args.latent_threads : 0);
  launch(device_of(ctx), "mla_prepare", fast ? prepare_rows<true> : prepare_rows<false>,
         {.grid = dim3(static_cast<unsigned>(std::max({p.q.rows, latent.rows, 0})),
                       (p.q.rows > 0) + (latent.rows > 0)),
          .block = dim3(static_cast<unsigned>(std::max(threads, 32)))},
         args);
  if (p.q.rows > 0 && p.q.codes.codes != nullptr && !fast)
    quantise_into(ctx, "mla_prepare", {p.q.out, p.q.out_dtype, p.q.out_stride, p.q.rows, p.q.width},
                  p.q.codes);
}

}  // namespace fathom::cuda
