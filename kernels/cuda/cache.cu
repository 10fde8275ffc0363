// How do new latents, keys and values get into the paged cache? A block a row, each number to its
// place, rounded where the cache is bf16; to 8 bits, a warp a group. A negative slot stores
// nothing.
#include "base/check.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/latent_bytes.cuh"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void write_latents(CacheWriteParams p) {
  wait_for_previous();
  const int64_t t = blockIdx.x, slot = p.slots[t];
  if (slot < 0) return;
  const int64_t width = p.cache.rank + p.cache.rope;
  const int64_t at =
      slot / p.cache.block_tokens * p.cache.block_stride + slot % p.cache.block_tokens * width;
  for (int64_t i = threadIdx.x; i < width; i += kThreads)
    store(p.cache.base, p.cache.dtype, at + i,
          i < p.cache.rank ? p.latent[t * p.latent_stride + i]
                           : p.rope_key[t * p.rope_stride + i - p.cache.rank]);
}

__global__ void write_byte_latents(CacheWriteParams p) {
  wait_for_previous();
  const int64_t t = blockIdx.x, slot = p.slots[t];
  if (slot < 0) return;
  const ByteToken token{p.cache.rank, p.cache.rope};
  auto* bytes = static_cast<uint8_t*>(p.cache.base) +
                slot / p.cache.block_tokens * p.cache.block_stride +
                slot % p.cache.block_tokens * token.size();
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const float* latent = p.latent + t * p.latent_stride;
  for (int32_t first = thread / 32 * kLatentGroup; first < token.rank;
       first += kThreads / 32 * kLatentGroup) {
    float v[2], largest = 0, poison = 0;  // 32 apart
#pragma unroll
    for (int32_t j = 0; j < 2; ++j) {
      const int32_t i = first + thread % 32 + j * 32;
      v[j] = i < token.rank ? latent[i] : 0.0f;
      largest = fmaxf(largest, fabsf(v[j]));
      poison += v[j] * 0.0f;
    }
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, apart));
      poison += __shfl_xor_sync(~0u, poison, apart);
    }
    const float scale = byte_scale(largest, poison), inverse = byte_inverse(scale);
    if (thread % 32 == 0) reinterpret_cast<float*>(bytes)[first / kLatentGroup] = scale;
#pragma unroll
    for (int32_t j = 0; j < 2; ++j) {
      const int32_t i = first + thread % 32 + j * 32;
      if (i < token.rank) bytes[token.values() + i] = static_cast<uint8_t>(to_byte(v[j], inverse));
    }
  }
  auto* keys = reinterpret_cast<uint16_t*>(bytes + token.keys());
  for (int32_t i = thread; i < token.rope; i += kThreads)
    keys[i] = narrow_bf16(p.rope_key[t * p.rope_stride + i]);
  // What fills a token up is part of a block's bytes.
  for (int64_t i = token.used() + thread; i < token.size(); i += kThreads) bytes[i] = 0;
}

__global__ void write_kv(KvWriteParams p) {
  wait_for_previous();
  const int64_t t = blockIdx.x, slot = p.slots[t];
  if (slot < 0) return;
  const int64_t all = int64_t{p.cache.heads} * p.cache.dim, width = int64_t{p.heads} * p.cache.dim;
  const int64_t at = slot / p.cache.block_tokens * p.cache.block_stride +
                     slot % p.cache.block_tokens * 2 * all + int64_t{p.first_head} * p.cache.dim;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) {
    store(p.cache.base, p.cache.dtype, at + i, p.k[t * p.k_stride + i]);
    store(p.cache.base, p.cache.dtype, at + all + i, p.v[t * p.v_stride + i]);
  }
}

}  // namespace

void cache_write(const OpContext& ctx, const CacheWriteParams& p) {
  const DType dtype = p.cache.dtype;
  CHECK(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::i8);
  launch(device_of(ctx), "cache_write", dtype == DType::i8 ? write_byte_latents : write_latents,
         {static_cast<unsigned>(p.rows), kThreads}, p);
}

void kv_write(const OpContext& ctx, const KvWriteParams& p) {
  CHECK(p.cache.dtype == DType::f32 || p.cache.dtype == DType::bf16);
  launch(device_of(ctx), "kv_write", write_kv, {static_cast<unsigned>(p.rows), kThreads}, p);
}

}  // namespace fathom::cuda
