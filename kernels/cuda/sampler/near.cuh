// How is a token drawn when it is among the likeliest, as almost always? Tokens are counted by
// their distance from the largest logit, in steps of 1/16 up to 16; those that the truncation and
// the draw can reach, if they are few, go to the first block of the cluster, which sorts them and
// reads all answers off their running sums. One search through the row instead of one for each. The
// distance that reaches is estimated; whether it did is seen from exact sums, and if not, or if
// there are too many, select.cuh finds the token.
#pragma once

#include "kernels/cuda/sampler/select.cuh"

namespace fathom::cuda {

constexpr int kNear = 2 * kSampleThreads;  // tokens sorted, two a thread
constexpr int kSteps = 256;
constexpr float kStepsOfOne = 16.0f;

// Lies over RowShared's digits, which no search needs meanwhile.
struct NearShared {
  uint64_t tokens[kNear];  // rank_of, falling once sorted; in block 0, as the next
  uint64_t sums[kNear];    // of weights up to and with each
  uint64_t weights[kRowBlocks];
  uint32_t steps[kSteps];    // my tokens at each distance
  uint32_t reached[kSteps];  // of all blocks, up to and with each
  int32_t listed, chosen, kept, drawn;
};
static_assert(sizeof(NearShared) <= sizeof(uint32_t) * kBins * (1 + kLimbs));

// Order of (logit, id) in one word: the largest logit first, ties to the lower id; not-a-number
// never is the largest.
__device__ __forceinline__ uint64_t rank_of(float v, int32_t id) {
  if (v != v) return 0;
  return static_cast<uint64_t>(key_of(v)) << 32 | (UINT32_MAX - static_cast<uint32_t>(id));
}
__device__ __forceinline__ TokenId id_of(uint64_t rank) {
  return static_cast<TokenId>(UINT32_MAX - static_cast<uint32_t>(rank));
}
__device__ __forceinline__ float logit_of_rank(uint64_t rank) {
  return logit_of(static_cast<uint32_t>(rank >> 32));
}

// The smallest key of a logit not further below the largest than `lowest`: every warp asks 32 keys
// at once, 7 times.
__device__ inline uint32_t lowest_key(float lowest, float largest, float temperature) {
  uint32_t low = kLowestKey, high = key_of(largest);  // it is in [low, high]
  while (low < high) {
    const uint32_t step = max((high - low) / 32, 1u);
    const uint32_t ask = low + min(step * (threadIdx.x % 32), high - low);
    const bool kept = below_largest(logit_of(ask), largest, temperature) >= lowest;
    const uint32_t votes = __ballot_sync(~0u, kept);
    // high is kept always; the first kept lane ends the interval, the one before begins it.
    const int reached = votes == 0 ? 32 : __ffs(static_cast<int>(votes)) - 1;
    if (reached < 32) high = min(high, low + min(step * reached, high - low));
    if (reached > 0) low = low + min(step * (reached - 1), high - low) + 1;
  }
  return low;
}

// What the list must reach: a number of tokens, or all to a distance, or a share of the weight.
struct Reach {
  int32_t count;   // > 0: so many,
  float share;     // else so much,
  float distance;  // but, if it is < 0, all down to this
};

// The sum of `v` over the threads of a warp up to this one.
template <class T>
__device__ __forceinline__ T sum_up_to(T v) {
  for (int apart = 1; apart < 32; apart *= 2) {
    const T lower = __shfl_up_sync(~0u, v, apart);
    if (static_cast<int>(threadIdx.x % 32) >= apart) v += lower;
  }
  return v;
}

// In block 0: the bound below which the listed tokens end; 0 when there would be too many.
__device__ inline float choose_edge(RowCluster& cluster, NearShared& near, const Reach& reach,
                                    uint64_t whole) {
  RowShared& s = cluster.s;
  const auto t = static_cast<int>(threadIdx.x);
  uint32_t tokens = 0;
  if (t < kSteps)
    for (int b = 0; b < kRowBlocks; ++b) tokens += cluster.at(&near, b)->steps[t];
  const float mass =
      static_cast<float>(tokens) * expf((static_cast<float>(t) + 0.5f) * (-1.0f / kStepsOfOne));
  uint32_t count = sum_up_to(tokens);
  float weight = sum_up_to(mass);
  __syncthreads();
  if (t % 32 == 31) s.scanned[t / 32] = uint64_t{__float_as_uint(weight)} << 32 | count;
  if (t == 0) near.chosen = kSteps - 1;
  __syncthreads();
  for (int w = 0; w < t / 32; ++w) {
    count += static_cast<uint32_t>(s.scanned[w]);
    weight += __uint_as_float(static_cast<uint32_t>(s.scanned[w] >> 32));
  }
  if (t < kSteps) {
    near.reached[t] = count;
    const float goal = reach.share * static_cast<float>(whole) *
                       (1.0f / static_cast<float>(uint64_t{1} << kWeightBits));
    const bool enough = reach.count > 0 ? count >= static_cast<uint32_t>(reach.count)
                        : reach.distance < 0
                            ? static_cast<float>(t) >= -kStepsOfOne * reach.distance
                            : weight >= goal;
    if (enough) atomicMin(&near.chosen, t);
  }
  __syncthreads();
  if (near.chosen >= kSteps - 1 && reach.distance < -static_cast<float>(kSteps - 1) / kStepsOfOne)
    return 0;
  // Two steps more, for the weight was an estimate.
  for (int more = 2; more >= 0; --more) {
    const int step = min(near.chosen + more, kSteps - 1);
    if (near.reached[step] <= kNear) return static_cast<float>(step + 1) * (-1.0f / kStepsOfOne);
  }
  return 0;
}

// Falling; the list is padded by zeros to a power of two, `size`.
__device__ inline void sort_falling(uint64_t* list, int32_t size) {
  for (int32_t run = 2; run <= size; run *= 2)
    for (int32_t apart = run / 2; apart > 0; apart /= 2) {
      __syncthreads();
      const auto t = static_cast<int32_t>(threadIdx.x);
      const int32_t low = t / apart * apart * 2 + t % apart, high = low + apart;
      if (high >= size) continue;
      const bool falling = (low & run) == 0;
      const uint64_t a = list[low], b = list[high];
      if ((a < b) == falling) {
        list[low] = b;
        list[high] = a;
      }
    }
  __syncthreads();
}

// Lists the tokens within reach in block 0, sorted, and weighs the whole row. Returns their number,
// 0 when they are too many to list; all threads of the cluster get both. Block 0 goes on alone: it
// alone may read the list, until the next sync of the cluster.
__device__ inline int32_t list_near(RowCluster& cluster, const Reach& reach, float largest,
                                    float temperature, uint64_t& whole) {
  RowShared& s = cluster.s;
  auto& near = *reinterpret_cast<NearShared*>(s.bins);
  const auto t = static_cast<int32_t>(threadIdx.x);
  for (int i = t; i < kSteps; i += kSampleThreads) near.steps[i] = 0;
  if (t == 0) near.listed = 0;
  __syncthreads();
  uint64_t weight = 0;
#pragma unroll 2
  for (int32_t i = t; i < cluster.count; i += kSampleThreads) {
    const float y = below_largest(cluster.x[i], largest, temperature);
    if (y > -static_cast<float>(kSteps) / kStepsOfOne)
      atomicAdd(&near.steps[static_cast<int>(y * -kStepsOfOne)], 1u);
    if (y > -25.0f) weight += whole_weight(weight_of(y));
  }
  for (int apart = 16; apart > 0; apart /= 2) weight += __shfl_xor_sync(~0u, weight, apart);
  if (t % 32 == 0) s.scanned[t / 32] = weight;
  __syncthreads();
  if (t == 0) {
    for (int w = 1; w < kSampleThreads / 32; ++w) weight += s.scanned[w];
    cluster.at(&near, 0)->weights[cluster.rank()] = weight;
  }
  cluster.sync();
  if (cluster.rank() == 0) {
    uint64_t all = 0;
    for (int b = 0; b < kRowBlocks; ++b) all += near.weights[b];
    const float edge = choose_edge(cluster, near, reach, all);
    if (t == 0) {
      s.level.target = all;
      s.level.edge = edge;
    }
  }
  cluster.sync();
  whole = cluster.at(&s, 0)->level.target;
  const float edge = cluster.at(&s, 0)->level.edge;
  if (!(edge < 0)) return 0;
  // Above the edge: at the next number of smaller magnitude, or higher.
  const float lowest = __uint_as_float(__float_as_uint(edge) - 1);
  const float least = logit_of(lowest_key(lowest, largest, temperature));
  NearShared& zero = *cluster.at(&near, 0);
  for (int32_t from = 0; from < cluster.count; from += kSampleThreads) {
    const int32_t i = from + t;
    const bool listed = i < cluster.count && cluster.x[i] >= least;
    const uint32_t votes = __ballot_sync(~0u, listed);
    if (votes == 0) continue;
    int32_t place = 0;
    if (t % 32 == 0) place = atomicAdd(&zero.listed, __popc(votes));
    place = __shfl_sync(~0u, place, 0) + __popc(votes & ((1u << (t % 32)) - 1));
    if (listed && place < kNear) zero.tokens[place] = rank_of(cluster.x[i], cluster.first + i);
  }
  cluster.sync();
  const int32_t count = min(cluster.at(&near, 0)->listed, kNear);
  if (cluster.rank() == 0) {
    int32_t size = 2;
    while (size < count) size *= 2;
    for (int32_t i = count + t; i < size; i += kSampleThreads) near.tokens[i] = 0;
    sort_falling(near.tokens, size);
  }
  return count;
}

// The first place whose sum reaches `target`, or -1, for all threads of block 0.
__device__ inline int32_t place_of(const NearShared& near, int32_t count, uint64_t target,
                                   int32_t& found) {
  if (threadIdx.x == 0) found = -1;
  __syncthreads();
  for (int32_t i = threadIdx.x; i < count; i += kSampleThreads)
    if (near.sums[i] >= target && (i == 0 || near.sums[i - 1] < target)) found = i;
  __syncthreads();
  return found;
}

// In block 0: what the row draws from the list of `count`, -1 when the list ends too early.
__device__ inline TokenId draw_listed(RowShared& s, int32_t count, uint64_t whole,
                                      const SampleRow& row, float largest) {
  auto& near = *reinterpret_cast<NearShared*>(s.bins);
  const int32_t mine = 2 * static_cast<int32_t>(threadIdx.x);
  const auto distance = [&](int32_t i) {
    return below_largest(logit_of_rank(near.tokens[i]), largest, row.temperature);
  };
  const uint64_t first = mine < count ? whole_weight(weight_of(distance(mine))) : 0;
  const uint64_t second = mine + 1 < count ? whole_weight(weight_of(distance(mine + 1))) : 0;
  uint64_t sum = sum_up_to(first + second);
  if (threadIdx.x % 32 == 31) s.scanned[threadIdx.x / 32] = sum;
  __syncthreads();
  for (unsigned w = 0; w < threadIdx.x / 32; ++w) sum += s.scanned[w];
  near.sums[mine] = sum - second;
  near.sums[mine + 1] = sum;
  __syncthreads();

  int32_t kept = count;
  if (row.top_k > 0) {
    if (count < row.top_k) return -1;
    kept = row.top_k;
    whole = near.sums[kept - 1];
  }
  if (row.top_p < 1.0f) {
    const double goal = ceil(static_cast<double>(row.top_p) * static_cast<double>(whole));
    kept = 1 + place_of(near, kept, goal < 1 ? 1 : static_cast<uint64_t>(goal), near.kept);
    if (kept == 0) return -1;
    whole = near.sums[kept - 1];
  }
  if (row.lowest > -INFINITY) {
    const auto reaches = [&](int32_t i) { return i < kept && distance(i) >= row.lowest; };
    const int even = __syncthreads_count(reaches(mine));
    kept = even + __syncthreads_count(reaches(mine + 1));
    whole = near.sums[kept - 1];
  }
  const double point = floor(row.uniform * static_cast<double>(whole));
  const int32_t place = place_of(near, kept, static_cast<uint64_t>(point) + 1, near.drawn);
  return place < 0 ? -1 : id_of(near.tokens[place]);
}

// The row's token; -1 when it is not certainly among the near ones. All blocks get it.
__device__ inline TokenId draw_near(RowCluster& cluster, const SampleRow& row, float largest) {
  const bool by_share = row.top_p < 1.0f || row.lowest == -INFINITY;
  const Reach wanted{.count = row.top_k,
                     .share = row.top_p < 1.0f ? row.top_p : static_cast<float>(row.uniform),
                     .distance = by_share ? 0 : row.lowest};
  uint64_t whole = 0;
  const int32_t count = list_near(cluster, wanted, largest, row.temperature, whole);
  if (count == 0) return -1;
  if (cluster.rank() == 0) {
    const TokenId token = draw_listed(cluster.s, count, whole, row, largest);
    if (threadIdx.x < kRowBlocks)
      *cluster.at(&cluster.s.named, static_cast<int>(threadIdx.x)) = token;
  }
  cluster.sync();
  return cluster.s.named;
}

}  // namespace fathom::cuda
