// How do new latents, keys and values get into the paged cache? A block a row, each number to its
// place, rounded where the cache is bf16. A negative slot stores nothing.
#include "kernels/cuda/device.cuh"
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
  CHECK(p.cache.dtype == DType::f32 || p.cache.dtype == DType::bf16);
  launch(device_of(ctx), "cache_write", write_latents, {static_cast<unsigned>(p.rows), kThreads},
         p);
}

void kv_write(const OpContext& ctx, const KvWriteParams& p) {
  CHECK(p.cache.dtype == DType::f32 || p.cache.dtype == DType::bf16);
  launch(device_of(ctx), "kv_write", write_kv, {static_cast<unsigned>(p.rows), kThreads}, p);
}

}  // namespace fathom::cuda
