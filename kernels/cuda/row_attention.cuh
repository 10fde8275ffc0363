// How does one query attend, exactly and for any shape? One block a (row, head): tiles of 128
// positions in ascending order, one online softmax in float32; a warp a score, a thread an output
// number. Every sum has one order, so a row's bits depend on its query and its context alone.
#pragma once

#include <cmath>

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/latent_bytes.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda {

inline constexpr int kRowThreads = 256;
inline constexpr int kRowTile = 128;

// Keys and values of one head in a paged cache: element e of the key of position p stands at
// key + slot(p) + e, of the value at value + slot(p) + e, where slot(p) = block * block_stride + s
// * token_stride. A token of 8 bits (`bytes`) is both, and its elements are found by its layout.
struct PagedHead {
  const void* base = nullptr;
  DType dtype = DType::f32;
  int64_t block_stride = 0, token_stride = 0;
  int32_t block_tokens = 0;
  int64_t key = 0, value = 0;
  int32_t key_width = 0, value_width = 0;
  ByteToken bytes = {};  // where dtype is i8

  __device__ __forceinline__ float key_at(int64_t slot, int e) const {
    if (dtype == DType::i8) return bytes.at(static_cast<const uint8_t*>(base) + slot, e);
    return load(base, dtype, slot + key + e);
  }
  __device__ __forceinline__ float value_at(int64_t slot, int e) const {
    if (dtype == DType::i8) return bytes.at(static_cast<const uint8_t*>(base) + slot, e);
    return load(base, dtype, slot + value + e);
  }
};

constexpr size_t row_attention_shared(int32_t key_width, int32_t value_width) {
  return sizeof(float) * (static_cast<size_t>(key_width) + static_cast<size_t>(value_width) +
                          kRowTile + 2 * kRowThreads / 32 + 2) +
         sizeof(int64_t) * kRowTile;
}

// All threads of a block of kRowThreads; `shared` holds row_attention_shared() bytes. query(e) is
// element e of the query; emit(e, v) takes element e of the result.
template <class Query, class Emit>
__device__ void attend_row(const PagedHead& head, const RowContext& at, float scale, char* shared,
                           const Query& query, const Emit& emit) {
  constexpr int kWarps = kRowThreads / 32;
  auto* places = reinterpret_cast<int64_t*>(shared);
  auto* q = reinterpret_cast<float*>(places + kRowTile);
  float* sums = q + head.key_width;
  float* scores = sums + head.value_width;
  float* parts = scores + kRowTile;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  for (int e = thread; e < head.key_width; e += kRowThreads) q[e] = query(e);
  for (int e = thread; e < head.value_width; e += kRowThreads) sums[e] = 0;
  float largest = -INFINITY, total = 0;
  __syncthreads();
  for (int32_t first = 0; first < at.context; first += kRowTile) {
    const int count = min(kRowTile, at.context - first);
    for (int i = thread; i < count; i += kRowThreads) {
      const int32_t p = first + i;
      places[i] = int64_t{at.blocks[p / head.block_tokens]} * head.block_stride +
                  p % head.block_tokens * head.token_stride;
    }
    __syncthreads();
    for (int i = warp; i < count; i += kWarps) {
      float sum = 0;
      for (int e = lane; e < head.key_width; e += 32)
        sum = fmaf(q[e], head.key_at(places[i], e), sum);
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      if (lane == 0) scores[i] = sum * scale;
    }
    __syncthreads();
    // The tile's largest score and its sum of exponentials, by warp 0, the same in every thread
    // after the barrier.
    if (warp == 0) {
      float top = -INFINITY;
      bool broken = false;
      for (int i = lane; i < count; i += 32) {
        top = fmaxf(top, scores[i]);
        broken |= isnan(scores[i]);
      }
      for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, step));
      if (__any_sync(~0u, broken)) top = NAN;  // fmaxf drops it; the row must fail
      const float now = isnan(top) ? top : fmaxf(largest, top);
      float sum = 0;
      for (int i = lane; i < count; i += 32) {
        const float e = expf(scores[i] - now);
        scores[i] = e;
        sum += e;
      }
      for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
      if (lane == 0) {
        parts[0] = now;
        parts[1] = sum;
      }
    }
    __syncthreads();
    const float now = parts[0];
    const float keep = first == 0 ? 0.0f : expf(largest - now);
    total = total * keep + parts[1];
    largest = now;
    for (int e = thread; e < head.value_width; e += kRowThreads) {
      float sum = first == 0 ? 0.0f : sums[e] * keep;
      for (int i = 0; i < count; ++i) sum = fmaf(scores[i], head.value_at(places[i], e), sum);
      sums[e] = sum;
    }
    __syncthreads();
  }
  for (int e = thread; e < head.value_width; e += kRowThreads)
    emit(e, at.context == 0 ? 0.0f : sums[e] / total);
}

}  // namespace fathom::cuda
