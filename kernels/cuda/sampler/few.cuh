// How is a token drawn when a truncation left few? Survivors go to the first block of the cluster,
// which sorts them and reads the rest of the truncation and the draw off their running sums: one
// more search through the row for each would take longer. Same whole numbers, same token.
#pragma once

#include "kernels/cuda/sampler/select.cuh"

namespace fathom::cuda {

constexpr int kFew = 2 * kSampleThreads;  // two a thread

// Lies over RowShared's digits, which a finished search no longer needs.
struct FewShared {
  uint64_t tokens[kFew];  // rank_of, falling once sorted
  uint64_t sums[kFew];    // of weights up to and with each
  int32_t listed, kept, drawn;
};
static_assert(sizeof(FewShared) <= sizeof(uint32_t) * kBins * (1 + kLimbs));

// Order of (logit, id) in one word: the largest logit first, ties to the lower id; not-a-number
// never is the largest.
__device__ __forceinline__ uint64_t rank_of(float v, int32_t id) {
  if (v != v) return 0;
  return static_cast<uint64_t>(key_of(v)) << 32 | (UINT32_MAX - static_cast<uint32_t>(id));
}
__device__ __forceinline__ TokenId id_of(uint64_t rank) {
  return static_cast<TokenId>(UINT32_MAX - static_cast<uint32_t>(rank));
}

// Falling; the list is padded by zeros to a power of two, `size`.
__device__ inline void sort_falling(uint64_t* list, int32_t size) {
  for (int32_t run = 2; run <= size; run *= 2)
    for (int32_t apart = run / 2; apart > 0; apart /= 2) {
      __syncthreads();
      const auto t = static_cast<int32_t>(threadIdx.x);
      const int32_t low = t / apart * apart * 2 + t % apart, high = low + apart;
      if (high < size) {
        const bool falling = (low & run) == 0;
        const uint64_t a = list[low], b = list[high];
        if ((a < b) == falling) {
          list[low] = b;
          list[high] = a;
        }
      }
    }
  __syncthreads();
}

// The first place whose sum reaches `target`, for all threads of the block.
__device__ inline int32_t place_of(FewShared& few, int32_t count, uint64_t target, int32_t& found) {
  for (int32_t i = threadIdx.x; i < count; i += kSampleThreads)
    if (few.sums[i] >= target && (i == 0 || few.sums[i - 1] < target)) found = i;
  __syncthreads();
  return found;
}

// In the first block: the token drawn from the first `count` of the list.
template <class Weigh>
__device__ TokenId draw_listed(RowShared& s, FewShared& few, int32_t count, bool by_share,
                               const SampleRow& row, float largest, const Weigh& weigh) {
  int32_t size = 2;
  while (size < count) size *= 2;
  for (int32_t i = count + static_cast<int32_t>(threadIdx.x); i < size; i += kSampleThreads)
    few.tokens[i] = 0;
  sort_falling(few.tokens, size);

  const int32_t mine = 2 * static_cast<int32_t>(threadIdx.x);
  const auto weight = [&](int32_t i) {
    return i < count ? whole_weight(weigh(logit_of(static_cast<uint32_t>(few.tokens[i] >> 32))))
                     : 0;
  };
  const uint64_t first = weight(mine), second = weight(mine + 1);
  uint64_t sum = first + second;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int apart = 1; apart < 32; apart *= 2) {
    const uint64_t lower = __shfl_up_sync(~0u, sum, apart);
    if (lane >= apart) sum += lower;
  }
  if (lane == 31) s.scanned[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += s.scanned[w];
  few.sums[mine] = sum - second;
  few.sums[mine + 1] = sum;
  __syncthreads();

  int32_t kept = count;
  if (by_share)
    kept =
        1 + place_of(few, count,
                     max(uint64_t{1}, static_cast<uint64_t>(ceil(
                                          row.top_p * static_cast<double>(few.sums[count - 1])))),
                     few.kept);
  if (row.lowest > -INFINITY) {
    const auto reaches = [&](int32_t i) {
      return i < kept && below_largest(logit_of(static_cast<uint32_t>(few.tokens[i] >> 32)),
                                       largest, row.temperature) >= row.lowest;
    };
    kept = __syncthreads_count(reaches(mine)) + __syncthreads_count(reaches(mine + 1));
  }
  const double point = floor(row.uniform * static_cast<double>(few.sums[kept - 1]));
  return id_of(few.tokens[place_of(few, kept, static_cast<uint64_t>(point) + 1, few.drawn)]);
}

// Draws from the tokens that `kept` holds, when they are few; -1 when they are not. by_share:
// top-p is still to be done. Every block of the cluster gets the token.
template <class Weigh>
__device__ TokenId draw_from_few(RowCluster& cluster, const Bound& kept, bool by_share,
                                 const SampleRow& row, float largest, const Weigh& weigh) {
  RowShared& s = cluster.s;
  auto& few = *reinterpret_cast<FewShared*>(s.bins);
  uint64_t held = 0;
  for (int32_t i = threadIdx.x; i < cluster.count; i += kSampleThreads)
    held += kept.holds(key_of(cluster.x[i]), cluster.first + i);
  if (threadIdx.x == 0) few.listed = 0;
  const uint64_t all = cluster.reduce(held, [](uint64_t a, uint64_t b) { return a + b; });
  if (all > kFew) return -1;
  int32_t before = 0;  // of the blocks ahead of me; any order will do
  for (int b = 0; b < cluster.rank(); ++b) before += static_cast<int32_t>(s.reduced[b]);
  FewShared& zero = *cluster.at(&few, 0);
  for (int32_t i = threadIdx.x; i < cluster.count; i += kSampleThreads)
    if (kept.holds(key_of(cluster.x[i]), cluster.first + i))
      zero.tokens[before + atomicAdd(&few.listed, 1)] = rank_of(cluster.x[i], cluster.first + i);
  cluster.sync();
  if (cluster.rank() == 0) {
    const TokenId token =
        draw_listed(s, few, static_cast<int32_t>(all), by_share, row, largest, weigh);
    if (threadIdx.x < kRowBlocks) *cluster.at(&s.named, static_cast<int>(threadIdx.x)) = token;
  }
  cluster.sync();
  return s.named;
}

}  // namespace fathom::cuda
