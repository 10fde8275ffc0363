// How is the n-th token of a row found, by count or by weight, without sorting? By its digits: a
// cluster of blocks holds the row in shared memory, counts what the tokens of each leading digit
// weigh, and only the digit where the bound falls is looked at again. Three digits (11, 11, 10
// bits) name a logit; tokens of equal logits are told apart by their ids. Everything summed is
// whole numbers, so no order of blocks or threads can change a result.
#pragma once

#include <cooperative_groups.h>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sampler/row.h"
#include "kernels/weight_of_logit.h"

namespace fathom::cuda {

constexpr int kSampleThreads = 512;
constexpr int kBins = 2048;
constexpr int kLimbBits = 12;  // of a weight, so that 2^20 of them fit 32-bit sums
constexpr int kLimbs = 3;

// Floats in order as unsigned numbers; both zeros are one.
__device__ __forceinline__ uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float logit_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}
constexpr uint32_t kLowestKey = 0x00800000u;  // of the smallest finite number: masked ones are less

__device__ __forceinline__ uint64_t whole_weight(float w) {
  return __float2ull_rz(__fmul_rn(w, static_cast<float>(uint64_t{1} << kWeightBits)));
}

// The first tokens of the falling order: all above `key`, and those at it up to id `last`.
struct Bound {
  uint32_t key = kLowestKey;
  TokenId last = INT32_MAX;
  __device__ bool holds(uint32_t k, TokenId id) const {
    return k > key || (k == key && id <= last);
  }
};

enum class Until : int32_t { count, share, point };

struct Found {
  Bound bound;  // the token found is the last it holds
  bool exists;  // else the row has fewer tokens than asked for
};

// A row's piece in this block, and what the blocks of its cluster share.
struct RowShared {
  uint32_t bins[kBins];             // tokens of each digit
  uint32_t limbs[kLimbs][kBins];    // their weights
  uint64_t weight_of_digit[kBins];  // of all blocks, in block 0
  uint64_t scanned[kSampleThreads / 32];
  uint64_t reduced[kRowBlocks];  // one word of each block
  struct {
    uint64_t target, before, weight;
    uint32_t digit;
    bool exists;
  } level;
  TokenId named;
};

class RowCluster {
 public:
  __device__ RowCluster(RowShared& shared, float* piece, int32_t first_token, int32_t tokens)
      : s(shared), x(piece), first(first_token), count(tokens) {}

  __device__ void sync() const { cooperative_groups::this_cluster().sync(); }
  template <class T>
  __device__ T* at(T* mine, int block) const {
    return cooperative_groups::this_cluster().map_shared_rank(mine, static_cast<unsigned>(block));
  }
  __device__ int rank() const {
    return static_cast<int>(cooperative_groups::this_cluster().block_rank());
  }

  // Of one word a thread over the cluster, by a commutative, associative op; all threads get it.
  template <class Op>
  __device__ uint64_t reduce(uint64_t v, Op op) {
    for (int apart = 16; apart > 0; apart /= 2) v = op(v, __shfl_xor_sync(~0u, v, apart));
    __syncthreads();  // scanned may still be read
    if (threadIdx.x % 32 == 0) s.scanned[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x < kRowBlocks) {
      v = s.scanned[0];
      for (int w = 1; w < kSampleThreads / 32; ++w) v = op(v, s.scanned[w]);
      at(s.reduced, static_cast<int>(threadIdx.x))[rank()] = v;
    }
    sync();
    v = s.reduced[0];
    for (int b = 1; b < kRowBlocks; ++b) v = op(v, s.reduced[b]);
    sync();  // before reduced is written again
    return v;
  }

  // The first token, in falling order among those `among` holds, with which their number reaches
  // `number` (count), their weight `number` of the whole (share), or goes beyond it (point).
  // weigh(x) is a token's weight.
  template <class Weigh>
  __device__ Found find(const Bound& among, Until until, double number, const Weigh& weigh);

  RowShared& s;
  float* x;
  int32_t first, count;  // tokens [first, first + count) are x

 private:
  template <class Weigh>
  __device__ void count_digits(const Bound& among, uint32_t prefix, int shift, int bits,
                               bool by_count, const Weigh& weigh);
  __device__ void gather_digits(bool by_count);
  __device__ void choose_digit(bool first_level, Until until, double number, uint64_t before);
  __device__ TokenId tied(uint32_t key, uint32_t which);
};

template <class Weigh>
__device__ void RowCluster::count_digits(const Bound& among, uint32_t prefix, int shift, int bits,
                                         bool by_count, const Weigh& weigh) {
  for (int i = threadIdx.x; i < kBins; i += kSampleThreads) {
    s.bins[i] = 0;
    for (auto& limb : s.limbs) limb[i] = 0;
  }
  __syncthreads();
  const uint32_t mask = (1u << bits) - 1;
  for (int32_t i = threadIdx.x; i < count; i += kSampleThreads) {
    const float v = x[i];
    const uint32_t key = key_of(v);
    if (!among.holds(key, first + i)) continue;
    if (shift + bits < 32 && key >> (shift + bits) != prefix) continue;
    const uint32_t digit = key >> shift & mask;
    atomicAdd(&s.bins[digit], 1u);
    if (by_count) continue;
    const uint64_t w = whole_weight(weigh(v));
#pragma unroll
    for (int l = 0; l < kLimbs; ++l)
      if (const auto limb = static_cast<uint32_t>(w >> (l * kLimbBits)) & ((1u << kLimbBits) - 1);
          limb != 0)
        atomicAdd(&s.limbs[l][digit], limb);
  }
  sync();
}

// Each block adds up its share of the digits over all blocks, and leaves it in block 0.
__device__ inline void RowCluster::gather_digits(bool by_count) {
  constexpr int kShare = kBins / kRowBlocks;
  for (int i = threadIdx.x; i < kShare; i += kSampleThreads) {
    const int digit = rank() * kShare + i;
    uint32_t tokens = 0;
    uint64_t limbs[kLimbs] = {};
    for (int b = 0; b < kRowBlocks; ++b) {
      const RowShared* other = at(&s, b);
      tokens += other->bins[digit];
      if (by_count) continue;
      for (int l = 0; l < kLimbs; ++l) limbs[l] += other->limbs[l][digit];
    }
    uint64_t weight = by_count ? tokens : 0;
    for (int l = 0; l < kLimbs; ++l) weight += limbs[l] << (l * kLimbBits);
    at(&s, 0)->weight_of_digit[digit] = weight;
  }
  sync();
}

// In block 0: the digit, from the largest down, with which `before` reaches the target. At the
// first level the target is told by the whole.
__device__ inline void RowCluster::choose_digit(bool first_level, Until until, double number,
                                                uint64_t before) {
  if (rank() == 0) {
    constexpr int kEach = kBins / kSampleThreads;
    const int top = kBins - 1 - static_cast<int>(threadIdx.x) * kEach;  // my digits, falling
    uint64_t mine = 0;
    for (int k = 0; k < kEach; ++k) mine += s.weight_of_digit[top - k];
    uint64_t sum = mine;  // of all threads up to me
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int apart = 1; apart < 32; apart *= 2) {
      const uint64_t lower = __shfl_up_sync(~0u, sum, apart);
      if (lane >= apart) sum += lower;
    }
    if (lane == 31) s.scanned[warp] = sum;
    __syncthreads();
    uint64_t whole = 0;
    for (int w = 0; w < kSampleThreads / 32; ++w) {
      if (w < warp) sum += s.scanned[w];
      whole += s.scanned[w];
    }
    if (first_level && threadIdx.x == 0) {
      const double of = number * (until == Until::count ? 1.0 : static_cast<double>(whole));
      const double goal = until == Until::point ? floor(of) + 1 : ceil(of);
      s.level.target = goal < 1 ? 1 : static_cast<uint64_t>(goal);
      s.level.exists = false;  // stays when there is no such token
    }
    __syncthreads();
    const uint64_t target = s.level.target;
    uint64_t reached = before + sum - mine;
    if (reached < target && reached + mine >= target)
      for (int k = 0; k < kEach; ++k) {
        const uint64_t w = s.weight_of_digit[top - k];
        if (reached < target && reached + w >= target) {
          s.level.digit = static_cast<uint32_t>(top - k);
          s.level.before = reached;
          s.level.exists = true;
          s.level.weight = w;
        }
        reached += w;
      }
  }
  sync();
}

// The `which`-th (from 1) of the tokens at `key`, by rising id.
__device__ inline TokenId RowCluster::tied(uint32_t key, uint32_t which) {
  int32_t mine = 0;
  for (int32_t i = threadIdx.x; i < count; i += kSampleThreads) mine += key_of(x[i]) == key;
  const uint64_t here = static_cast<uint64_t>(mine);
  uint64_t v = here;
  for (int apart = 16; apart > 0; apart /= 2) v += __shfl_xor_sync(~0u, v, apart);
  __syncthreads();
  if (threadIdx.x % 32 == 0) s.scanned[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < kRowBlocks) {
    v = 0;
    for (int w = 0; w < kSampleThreads / 32; ++w) v += s.scanned[w];
    at(s.reduced, static_cast<int>(threadIdx.x))[rank()] = v;
  }
  sync();
  uint32_t before = 0;
  for (int b = 0; b < rank(); ++b) before += static_cast<uint32_t>(s.reduced[b]);
  const auto held = static_cast<uint32_t>(s.reduced[rank()]);
  if (which > before && which <= before + held) {
    for (int32_t from = 0; from < count; from += kSampleThreads) {
      const int32_t i = from + static_cast<int32_t>(threadIdx.x);
      const bool equal = i < count && key_of(x[i]) == key;
      const uint32_t votes = __ballot_sync(~0u, equal);
      __syncthreads();
      if (threadIdx.x % 32 == 0) s.scanned[threadIdx.x / 32] = __popc(votes);
      __syncthreads();
      uint32_t place = before + __popc(votes & ((2u << (threadIdx.x % 32)) - 1));
      uint32_t all = 0;
      for (int w = 0; w < kSampleThreads / 32; ++w) {
        const auto n = static_cast<uint32_t>(s.scanned[w]);
        if (w < static_cast<int>(threadIdx.x / 32)) place += n;
        all += n;
      }
      if (equal && place == which)
        for (int b = 0; b < kRowBlocks; ++b) *at(&s.named, b) = first + i;
      before += all;
      if (before >= which) break;
    }
  }
  sync();
  return s.named;
}

template <class Weigh>
__device__ Found RowCluster::find(const Bound& among, Until until, double number,
                                  const Weigh& weigh) {
  const bool by_count = until == Until::count;
  uint32_t key = 0;
  uint64_t before = 0;
  const int shifts[] = {21, 10, 0}, widths[] = {11, 11, 10};
#pragma unroll
  for (int l = 0; l < 3; ++l) {
    count_digits(among, key, shifts[l], widths[l], by_count, weigh);
    gather_digits(by_count);
    choose_digit(l == 0, until, number, before);
    const RowShared* zero = at(&s, 0);
    if (!zero->level.exists) return {among, false};
    key = key << widths[l] | zero->level.digit;
    before = zero->level.before;
  }
  const RowShared* zero = at(&s, 0);
  uint32_t tokens = 0;
  for (int b = 0; b < kRowBlocks; ++b) tokens += at(&s, b)->bins[zero->level.digit];
  const uint64_t missing = zero->level.target - before, each = zero->level.weight / tokens;
  return {{key, tied(key, static_cast<uint32_t>((missing + each - 1) / each))}, true};
}

}  // namespace fathom::cuda
