// What do the blocks of a row do to make it a token? They copy their pieces to shared memory, so
// device memory is read once; then adjust, bound, draw and read log-probabilities there, in the
// order of sample.h. Plain greedy rows need no copy: they are one search for the largest.
#include <algorithm>
#include <cstddef>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/sampler/launch.h"
#include "kernels/cuda/sampler/near.cuh"

namespace fathom::cuda {
namespace {

constexpr size_t kSharedMost = 227 * 1024;

// Pieces begin at multiples of 4 logits, so that aligned rows have aligned pieces.
__host__ __device__ constexpr int32_t piece_of(int32_t vocab) {
  return ((vocab + kRowBlocks - 1) / kRowBlocks + 3) / 4 * 4;
}

struct Piece {
  int32_t first, count;
};
__device__ __forceinline__ Piece my_piece(int32_t vocab) {
  const int32_t piece = piece_of(vocab);
  const int32_t first = min(vocab, static_cast<int32_t>(blockIdx.x) * piece);
  return {first, min(piece, vocab - first)};
}

__device__ __forceinline__ uint32_t finite(float v) {
  return (__float_as_uint(v) & 0x7F800000u) != 0x7F800000u;
}

// Calls use(index, value) for every logit of a piece, in 16-byte reads where it is aligned, kAhead
// of them on their way.
template <int kAhead, class Use>
__device__ __forceinline__ void read_piece(const float* logits, const Piece& piece,
                                           const Use& use) {
  const float* from = logits + piece.first;
  int32_t done = 0;
  if (reinterpret_cast<uintptr_t>(from) % 16 == 0) {
    const int32_t fours = piece.count / 4;
    done = fours * 4;
#pragma unroll kAhead
    for (int32_t i = threadIdx.x; i < fours; i += kSampleThreads) {
      const float4 v = __ldcs(reinterpret_cast<const float4*>(from) + i);
      use(4 * i, v.x);
      use(4 * i + 1, v.y);
      use(4 * i + 2, v.z);
      use(4 * i + 3, v.w);
    }
  }
  for (int32_t i = done + threadIdx.x; i < piece.count; i += kSampleThreads) use(i, from[i]);
}

struct Larger {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};

// All that find() does not need.
struct SmallShared {
  uint64_t scanned[kSampleThreads / 32];
  uint64_t reduced[kRowBlocks];
};

__global__ void __launch_bounds__(kSampleThreads)
    greedy_rows(const SampleLists lists, int32_t first_row, int32_t vocab) {
  __shared__ SmallShared s;
  auto cluster = cooperative_groups::this_cluster();
  cluster.barrier_arrive();  // here: others may write my shared memory
  wait_for_previous();
  const SampleRow& row = lists.rows[first_row + static_cast<int32_t>(blockIdx.y)];
  const Piece piece = my_piece(vocab);
  // The largest first; its id afterwards only where it is: ids cost as much as the rest.
  uint32_t good = 1;
  float largest = -INFINITY;
  int32_t id = INT32_MAX;
  read_piece<8>(row.logits, piece, [&](int32_t i, float v) {
    good &= finite(v);
    if (v > largest) {
      largest = v;
      id = piece.first + i;
    }
  });
  // A thread's ids rise, but for the tail behind the fours, which is its last.
  uint64_t best = id == INT32_MAX ? 0 : rank_of(largest, id);
  if (!good) best = UINT64_MAX;  // above every rank
  const auto larger = Larger{};
  for (int apart = 16; apart > 0; apart /= 2)
    best = larger(best, __shfl_xor_sync(~0u, best, apart));
  if (threadIdx.x % 32 == 0) s.scanned[threadIdx.x / 32] = best;
  __syncthreads();
  cluster.barrier_wait();
  if (threadIdx.x == 0) {
    for (int w = 1; w < kSampleThreads / 32; ++w) best = larger(best, s.scanned[w]);
    cluster.map_shared_rank(s.reduced, 0)[blockIdx.x] = best;
  }
  cluster.sync();
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  for (int b = 1; b < kRowBlocks; ++b) best = larger(best, s.reduced[b]);
  SampleResult& out = lists.results[row.result];
  out.status = best == UINT64_MAX ? RowStatus::not_finite : RowStatus::ok;
  out.token = id_of(best);
  if (lists.drawn != nullptr) lists.drawn[row.result] = best == UINT64_MAX ? 0 : out.token;
}

// Runs of one token in a sorted list: fn(entry) for each, by one thread, in order.
template <class Entry, class TokenOf, class Fn>
__device__ void each_in_piece(const Entry* list, int32_t from, int32_t end, const Piece& piece,
                              const TokenOf& token_of, const Fn& fn) {
  for (int32_t i = from + threadIdx.x; i < end; i += kSampleThreads) {
    const TokenId token = token_of(list[i]);
    if (token < piece.first || token >= piece.first + piece.count) continue;
    if (i > from && token_of(list[i - 1]) == token) continue;
    for (int32_t k = i; k < end && token_of(list[k]) == token; ++k)
      fn(token - piece.first, list[k]);
  }
  __syncthreads();
}

// Bias, penalties and mask, one operation after the other, each rounded as on the CPU.
__device__ void adjust(const SampleLists& lists, const SampleRow& row, const Piece& piece,
                       float* x) {
  using namespace unfused;
  each_in_piece(
      lists.biases, row.biases, row.biases_end, piece, [](const Bias& b) { return b.token; },
      [&](int32_t at, const Bias& b) { x[at] = add(x[at], b.bias); });
  each_in_piece(
      lists.counts, row.counts, row.counts_end, piece, [](const TokenCount& c) { return c.token; },
      [&](int32_t at, const TokenCount& c) {
        float v = x[at];
        v = v > 0 ? div(v, row.repetition) : mul(v, row.repetition);
        if (c.in_output != 0) {
          v = sub(v, mul(row.frequency, static_cast<float>(c.in_output)));
          v = sub(v, row.presence);
        }
        x[at] = v;
      });
  each_in_piece(
      lists.masked, row.masked, row.masked_end, piece, [](TokenId t) { return t; },
      [&](int32_t at, TokenId) { x[at] = -INFINITY; });
}

// By one search for each bound, however many tokens there are.
__device__ TokenId draw_anywhere(RowCluster& cluster, const SampleRow& row, float largest) {
  const float temperature = row.temperature;
  const auto weigh = [&](float v) { return weight_of(below_largest(v, largest, temperature)); };
  Bound kept;
  if (row.top_k > 0) kept = cluster.find(kept, Until::count, row.top_k, weigh).bound;
  if (row.top_p < 1.0f) kept = cluster.find(kept, Until::share, row.top_p, weigh).bound;
  if (row.lowest > -INFINITY) {
    const uint32_t lowest = lowest_key(row.lowest, largest, row.temperature);
    if (lowest > kept.key) kept = {lowest, INT32_MAX};
  }
  return cluster.find(kept, Until::point, row.uniform, weigh).bound.last;
}

__device__ TokenId draw(RowCluster& cluster, const SampleRow& row, float largest) {
  const TokenId near = draw_near(cluster, row, largest);
  return near >= 0 ? near : draw_anywhere(cluster, row, largest);
}

struct Named {
  int32_t count;
  Alternative top[kTopLogprobsMax];
};

// The `most` likeliest tokens in falling order, to `out`, by block 0, however far they are.
__device__ void name_anywhere(RowCluster& cluster, Named& named, int32_t most, SampleResult& out) {
  if (threadIdx.x == 0) named.count = 0;
  const Bound kept = cluster.find(Bound{}, Until::count, most, [](float) { return 0.0f; }).bound;
  cluster.sync();  // count is 0
  Named& zero = *cluster.at(&named, 0);
  for (int32_t i = threadIdx.x; i < cluster.count; i += kSampleThreads)
    if (kept.holds(key_of(cluster.x[i]), cluster.first + i)) {
      const int32_t place = atomicAdd(&zero.count, 1);
      if (place < kTopLogprobsMax) zero.top[place] = {cluster.first + i, cluster.x[i]};
    }
  cluster.sync();
  if (cluster.rank() != 0) return;
  const int32_t n = min(named.count, kTopLogprobsMax);
  if (threadIdx.x == 0) out.named = n;
  if (static_cast<int32_t>(threadIdx.x) >= n) return;
  const Alternative mine = named.top[threadIdx.x];
  int32_t ahead = 0;
  for (int32_t i = 0; i < n; ++i)
    ahead += rank_of(named.top[i].logprob, named.top[i].token) > rank_of(mine.logprob, mine.token);
  out.top[ahead] = mine;
}

// What log-probabilities are made of: the row's weight at temperature 1, and its likeliest tokens.
__device__ void read_logprobs(RowCluster& cluster, Named& named, int32_t most, float largest,
                              SampleResult& out) {
  uint64_t whole = 0;
  const int32_t count =
      list_near(cluster, {.count = max(most, 1), .share = 0, .distance = 0}, largest, 1.0f, whole);
  if (cluster.rank() == 0) {
    if (threadIdx.x == 0) {
      out.weights = static_cast<double>(whole) / static_cast<double>(uint64_t{1} << kWeightBits);
      out.named = most;
    }
    const auto& near = *reinterpret_cast<const NearShared*>(cluster.s.bins);
    const auto t = static_cast<int32_t>(threadIdx.x);
    if (count >= most && t < most)
      out.top[t] = {id_of(near.tokens[t]), logit_of_rank(near.tokens[t])};
  }
  if (count >= most) return;
  cluster.sync();  // the list is no longer read
  name_anywhere(cluster, named, most, out);
}

// At the start of shared memory; a row's piece stands behind.
struct alignas(16) RowMemory {
  RowShared row;
  Named named;
};

__global__ void __launch_bounds__(kSampleThreads, 2)
    any_rows(const SampleLists lists, int32_t first_row, int32_t vocab) {
  extern __shared__ float4 shared_memory[];
  auto& memory = *reinterpret_cast<RowMemory*>(shared_memory);
  wait_for_previous();
  const SampleRow& row = lists.rows[first_row + static_cast<int32_t>(blockIdx.y)];
  SampleResult& out = lists.results[row.result];
  const Piece piece = my_piece(vocab);
  float* x = lists.workspace == nullptr
                 ? reinterpret_cast<float*>(&memory + 1)
                 : lists.workspace + int64_t{blockIdx.y} * vocab + piece.first;
  RowCluster cluster(memory.row, x, piece.first, piece.count);
  cluster.sync();  // all blocks have begun: their shared memory may be written

  uint32_t good = 1;
  read_piece<4>(row.logits, piece, [&](int32_t i, float v) {
    x[i] = v;
    good &= finite(v);
  });
  __syncthreads();
  adjust(lists, row, piece, x);
  float most = -INFINITY;
  int32_t id = piece.first;
  for (int32_t i = threadIdx.x; i < piece.count; i += kSampleThreads)
    if (x[i] > most) {
      most = x[i];
      id = piece.first + i;
    }
  const uint64_t best = cluster.reduce(good ? rank_of(most, id) : UINT64_MAX, Larger{});
  const float largest = logit_of(static_cast<uint32_t>(best >> 32));
  const bool first_thread = cluster.rank() == 0 && threadIdx.x == 0;
  if (best == UINT64_MAX || !finite(largest)) {
    if (first_thread) {
      out.status = best == UINT64_MAX ? RowStatus::not_finite : RowStatus::nothing_to_draw;
      if (lists.drawn != nullptr) lists.drawn[row.result] = 0;
    }
    return;  // nobody reads another block's memory any more
  }

  TokenId token = row.target;
  if (token < 0) token = row.temperature <= 0.0f ? id_of(best) : draw(cluster, row, largest);
  if (first_thread) {
    out.status = RowStatus::ok;
    out.token = token;
    out.largest = largest;
    if (lists.drawn != nullptr) lists.drawn[row.result] = token;
  }
  if (row.alternatives >= 0) {
    if (threadIdx.x == 0 && token >= piece.first && token < piece.first + piece.count)
      out.logit = x[token - piece.first];
    read_logprobs(cluster, memory.named, row.alternatives, largest, out);
  }
  cluster.sync();  // blocks end together: others may read their memory until here
}

Launch rows_by_clusters(int32_t count, size_t shared) {
  return {.grid = dim3(kRowBlocks, static_cast<unsigned>(count)),
          .block = dim3(kSampleThreads),
          .shared = shared,
          .cluster = kRowBlocks};
}

size_t piece_bytes(int64_t vocab) {
  return static_cast<size_t>(piece_of(static_cast<int32_t>(vocab))) * sizeof(float);
}

}  // namespace

bool row_fits(int64_t vocab) { return sizeof(RowMemory) + piece_bytes(vocab) <= kSharedMost; }

void sample_greedy(CudaDevice& device, const SampleLists& lists, int32_t first, int32_t count,
                   int32_t vocab) {
  launch(device, "sample", greedy_rows, rows_by_clusters(count, 0), lists, first, vocab);
}

void sample_any(CudaDevice& device, const SampleLists& lists, int32_t first, int32_t count,
                int32_t vocab) {
  const size_t shared = sizeof(RowMemory) + (lists.workspace == nullptr ? piece_bytes(vocab) : 0);
  launch(device, "sample", any_rows, rows_by_clusters(count, shared), lists, first, vocab);
}

}  // namespace fathom::cuda
