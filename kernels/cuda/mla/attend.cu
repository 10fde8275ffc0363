// How do 64 heads of a decode row attend to one split of its context? A thread block per SM takes
// items (row, split) in turn. One warp copies: queries (72 KB) once an item, tiles of 64 latents
// (72 KB) into a ring of two. The first warpgroup multiplies queries with keys, takes the softmax
// on line and weighs latents 0 .. 255; the second weighs latents 256 .. 511 with the weights the
// first leaves in shared memory. Tiles of the next item are copied while the last one ends. Where
// the cache holds 8 bits, four warps widen tiles in place of the one that copies (widen.cuh).
#include "kernels/cuda/mla/attend.h"

#include <algorithm>

#include "kernels/cuda/gemm/ptx.cuh"
#include "kernels/cuda/gemm/wgmma.cuh"
#include "kernels/cuda/mla/values.cuh"
#include "kernels/cuda/mla/widen.cuh"

namespace fathom::cuda::mla {
namespace {

using namespace gemm;

constexpr int kBoxes = kWidth / 64;             // of 64 values
constexpr int kBoxBytes = 64 * 128;             // 64 tokens
constexpr int kTileBytes = kBoxes * kBoxBytes;  // 73728
constexpr int kStages = 2;
constexpr int kThreads = 3 * 128;  // the last 128 for a warp that copies, or four that widen
constexpr int kPairWarps = 8;      // warps that read a tile

struct Places {  // bytes from the 1024-byte aligned start of shared memory
  static constexpr int kQueries = 0;
  static constexpr int kLatents = kQueries + kTileBytes;
  static constexpr int kWeights = kLatents + kStages * kTileBytes;
  static constexpr int kShrinks = kWeights + kBoxBytes;
  static constexpr int kBarriers = kShrinks + kHeadTile * 4;
  static constexpr int kEnd = kBarriers + 8 * (2 * kStages + 4);
};
constexpr int kShared = Places::kEnd + 1024;
static_assert(kShared <= 227 * 1024);

struct Shared {
  uint32_t queries, latents, weights, barriers;
  float* shrinks;
  __device__ __forceinline__ uint32_t tile(int stage) const { return latents + stage * kTileBytes; }
  __device__ __forceinline__ uint32_t filled(int stage) const { return barriers + stage * 8; }
  __device__ __forceinline__ uint32_t freed(int stage) const {
    return barriers + (kStages + stage) * 8;
  }
  __device__ __forceinline__ uint32_t queries_filled() const { return barriers + 2 * kStages * 8; }
  __device__ __forceinline__ uint32_t queries_freed() const { return queries_filled() + 8; }
  __device__ __forceinline__ uint32_t weights_filled() const { return queries_filled() + 16; }
  __device__ __forceinline__ uint32_t weights_freed() const { return queries_filled() + 24; }
};

struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

__device__ __forceinline__ void copy_latents(uint32_t to, const CUtensorMap& map, uint32_t barrier,
                                             int column, int token, int block, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(column), "r"(token), "r"(block), "l"(policy)
      : "memory");
}
__device__ __forceinline__ uint64_t first_to_go() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t as_usual() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Each warp says it with one lane, after all of its lanes are there.
__device__ __forceinline__ void arrive_by_warp(uint32_t barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
}

// This warp asks for the 64 heads of an item that starts.
__device__ __forceinline__ void copy_queries(const Shared& shared, const CUtensorMap& queries,
                                             int first_head, int at, uint32_t& parity) {
  const int lane = threadIdx.x % 32;
  barrier_wait(shared.queries_freed(), parity);
  if (lane == 0) barrier_expect(shared.queries_filled(), kTileBytes);
  __syncwarp();
  if (lane < kBoxes)
    copy_latents(shared.queries + lane * kBoxBytes, queries, shared.queries_filled(), lane * 64,
                 first_head, at, as_usual());
  parity ^= 1;
}

// The blocks of an item's units of 16 positions: the lane's own, and that of unit lane + 32.
struct UnitBlocks {
  int block[2];
  __device__ __forceinline__ UnitBlocks(const AttendParams& p, const Item& item) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int unit = lane + i * 32;
      block[i] =
          unit * kBlockUnit < item.end - item.begin
              ? p.blocks[item.first_block + (item.begin + unit * kBlockUnit) / p.block_tokens]
              : 0;
    }
  }
  __device__ __forceinline__ int of(int unit) const {
    return __shfl_sync(~0u, unit < 32 ? block[0] : block[1], unit % 32);
  }
};

// The four widening warps, each with its unit of every tile. Units behind the context stay as they
// were, as they do where the copy engine fills tiles.
__device__ __forceinline__ void widen_all(const Shared& shared, const CUtensorMap& queries,
                                          const AttendParams& p) {
  const int warp = threadIdx.x % 128 / 32;
  const int head_tiles = up_div(p.heads, kHeadTile);
  const int work = *p.count * head_tiles;
  Turn turn;
  uint32_t query_parity = 1;
  for (int w = blockIdx.x; w < work; w += gridDim.x) {
    const Item item = load_item(p.items, w / head_tiles);
    const int length = item.end - item.begin;
    const UnitBlocks blocks(p, item);
    const auto unit_at = [&](int position) {  // of the item
      return p.bytes + blocks.of(position / kBlockUnit) * p.byte_stride +
             (item.begin + position) % p.block_tokens * kTokenBytes;
    };
    const auto ask = [&](int position) {
      if (position >= length) return;
      const uint8_t* const unit = unit_at(position);
      if (threadIdx.x % 32 == 0) fetch_unit(unit);
    };
    const int own = warp * kBlockUnit;
    ask(own);
    ask(own + kTile);
    for (int done = 0; done < length; done += kTile) {
      ask(done + own + 2 * kTile);
      barrier_wait(shared.freed(turn.stage), turn.parity ^ 1);
      if (done + own < length)
        widen_unit(unit_at(done + own), shared.tile(turn.stage), kBoxBytes, own);
      show_to_copies();
      arrive_by_warp(shared.filled(turn.stage));
      turn.next();
      if (done == 0 && warp == 0)
        copy_queries(shared, queries, w % head_tiles * kHeadTile, item.at, query_parity);
    }
  }
}

// The copying warp.
__device__ __forceinline__ void copy_all(const Shared& shared, const CUtensorMap& queries,
                                         const CUtensorMap& latents, const AttendParams& p) {
  const int lane = threadIdx.x % 32;
  const int head_tiles = up_div(p.heads, kHeadTile);
  const int work = *p.count * head_tiles;
  const bool whole = p.block_tokens % kTile == 0;  // a tile lies in one block
  // Two head tiles read a latent one soon after the other.
  const uint64_t policy = head_tiles == 1 ? first_to_go() : as_usual();
  Turn turn;
  uint32_t query_parity = 1;
  for (int w = blockIdx.x; w < work; w += gridDim.x) {
    const Item item = load_item(p.items, w / head_tiles);
    const int length = item.end - item.begin;
    const UnitBlocks blocks(p, item);
    for (int done = 0; done < length; done += kTile) {
      barrier_wait(shared.freed(turn.stage), turn.parity ^ 1);
      // Units of 16 positions within the context; a whole block is copied as one piece.
      const int units = smaller(up_div(length - done, kBlockUnit), kTile / kBlockUnit);
      const int pieces = whole ? 1 : units;
      const uint32_t bytes = whole ? kTileBytes : units * (kTileBytes / 4);
      const uint32_t full = shared.filled(turn.stage);
      if (lane == 0) barrier_expect(full, bytes);
      __syncwarp();
      const uint32_t to = shared.tile(turn.stage);
      for (int i = 0; i < pieces; ++i) {
        const int unit = done / kBlockUnit + i;
        const int here = blocks.of(unit);
        const int token = (item.begin + unit * kBlockUnit) % p.block_tokens;
        if (lane < kBoxes)
          copy_latents(to + lane * kBoxBytes + i * (kBlockUnit * 128), latents, full, lane * 64,
                       token, here, policy);
      }
      turn.next();
      if (done == 0)
        copy_queries(shared, queries, w % head_tiles * kHeadTile, item.at, query_parity);
    }
  }
}

// Rows from `from` on of a tile's latents become zeros: their weights are zero, but zero times
// not-a-number is not zero.
__device__ __forceinline__ void clear_tokens(uint32_t tile, int from) {
  const int t = threadIdx.x % 128;
  const int pieces = (kTile - from) * 8;  // of 16 bytes, in one box
  for (int i = t; i < pieces * (kRank / 64); i += 128) {
    const uint32_t at = tile + i / pieces * kBoxBytes + from * 128 + i % pieces * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
}

// 2^x, to 2 units in the last place; results below 2^-126 are zero.
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float largest_of_four(float v) {
  v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
  return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float sum_of_four(float v) {
  v += __shfl_xor_sync(~0u, v, 1);
  return v + __shfl_xor_sync(~0u, v, 2);
}

// Sums of rows slab_row(t, 0) and 8 further on times shrink; nothing to do where both are 1.
__device__ __forceinline__ void shrink_sums(float (&sums)[128], const float (&shrink)[2]) {
  if (!__any_sync(~0u, shrink[0] != 1.0f || shrink[1] != 1.0f)) return;
#pragma unroll
  for (int i = 0; i < 128; ++i) sums[i] *= shrink[i / 2 % 2];
}

__device__ __forceinline__ void store_sums(const AttendParams& p, int64_t item, int first_head,
                                           int first_column, const float (&sums)[128]) {
  const int t = threadIdx.x % 128;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int head = first_head + slab_row(t, side * 2);
    if (head >= p.heads) continue;
    float* to = p.sums + (item * p.heads + head) * kRank + first_column + slab_token(t, 0);
#pragma unroll
    for (int j = 0; j < 32; ++j)
      *reinterpret_cast<float2*>(to + j * 8) =
          make_float2(sums[j * 4 + side * 2], sums[j * 4 + side * 2 + 1]);
  }
}

// Scores of 64 heads and 64 positions.
__device__ __forceinline__ void multiply_keys(uint32_t queries, uint32_t tile,
                                              float (&scores)[32]) {
  const uint64_t q = rows_at(queries), k = rows_at(tile);
  warpgroup_begin();
#pragma unroll
  for (int i = 0; i < kWidth / 16; ++i) {
    const uint64_t on = i / 4 * (kBoxBytes / 16) + i % 4 * kSixteenDeeper;
    Product<64>::ab(scores, q + on, k + on, i > 0);
  }
  warpgroup_commit();
  warpgroup_wait<0>();
  settle(scores);
}

// The first warpgroup's softmax over the tiles of one item.
struct Softmax {
  float largest[2] = {-1e30f, -1e30f}, sum[2] = {0, 0};

  // scores -> weights, rounded to bf16 as operand A of four wgmmas; positions from `valid` on weigh
  // nothing. shrink: what earlier sums are to be multiplied with.
  __device__ __forceinline__ void take(float (&scores)[32], int valid, float scale_log2,
                                       uint32_t (&weights)[4][4], float (&shrink)[2]) {
    const int t = threadIdx.x % 128;
    if (valid < kTile) {
#pragma unroll
      for (int i = 0; i < 32; ++i)
        if (slab_token(t, i) >= valid) scores[i] = -INFINITY;
    }
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      float most = scores[side * 2];
#pragma unroll
      for (int j = 0; j < 8; ++j)
        most = fmaxf(most, fmaxf(scores[j * 4 + side * 2], scores[j * 4 + side * 2 + 1]));
      most = fmaxf(largest[side], largest_of_four(most) * scale_log2);
      shrink[side] = power_of_two(largest[side] - most);
      largest[side] = most;
      float more = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(
            power_of_two(fmaf(scores[j * 4 + side * 2], scale_log2, -most)),
            power_of_two(fmaf(scores[j * 4 + side * 2 + 1], scale_log2, -most)));
        more += __low2float(pair) + __high2float(pair);
        weights[j / 2][j % 2 * 2 + side] = *reinterpret_cast<const uint32_t*>(&pair);
      }
      sum[side] = fmaf(sum[side], shrink[side], more);
    }
  }
};

// Weights and shrinks to where the second warpgroup reads them: 64 rows of 128 bytes, swizzled.
__device__ __forceinline__ void leave_weights(const Shared& shared, const uint32_t (&weights)[4][4],
                                              const float (&shrink)[2]) {
  const int t = threadIdx.x % 128;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const int row = slab_row(t, side * 2);
#pragma unroll
    for (int j = 0; j < 8; ++j)
      asm volatile(
          "st.shared.b32 [%0], %1;" ::"r"(shared.weights + swizzled(row, j * 16 + t % 4 * 4)),
          "r"(weights[j / 2][j % 2 * 2 + side])
          : "memory");
    if (t % 4 == 0) shared.shrinks[row] = shrink[side];
  }
}

__device__ __forceinline__ void attend_first(const Shared& shared, const AttendParams& p) {
  const int head_tiles = up_div(p.heads, kHeadTile);
  const int work = *p.count * head_tiles, t = threadIdx.x % 128;
  Turn turn;
  uint32_t query_parity = 0, weights_parity = 1;
  for (int w = blockIdx.x; w < work; w += gridDim.x) {
    const Item item = load_item(p.items, w / head_tiles);
    float sums[128];
#pragma unroll
    for (int i = 0; i < 128; ++i) sums[i] = 0;
    Softmax softmax;
    barrier_wait(shared.queries_filled(), query_parity);
    query_parity ^= 1;
    for (int left = item.end - item.begin; left > 0; left -= kTile) {
      const uint32_t tile = shared.tile(turn.stage);
      float scores[32], shrink[2];
      uint32_t weights[4][4];
      barrier_wait(shared.filled(turn.stage), turn.parity);
      multiply_keys(shared.queries, tile, scores);
      if (left <= kTile) arrive_by_warp(shared.queries_freed());
      softmax.take(scores, left, p.scale_log2, weights, shrink);
      if (left < kTile) {
        clear_tokens(tile, left);
        show_to_copies();
        asm volatile("bar.sync 1, 128;" ::: "memory");  // all have cleared
      }
      shrink_sums(sums, shrink);
      warpgroup_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k) weigh(sums, weights[k], values_at(tile) + k * kSixteenTokens);
      warpgroup_commit();
      // While that runs: the second warpgroup's product then runs beside the next scores.
      barrier_wait(shared.weights_freed(), weights_parity);
      weights_parity ^= 1;
      leave_weights(shared, weights, shrink);
      show_to_copies();
      arrive_by_warp(shared.weights_filled());
      warpgroup_wait<0>();
      settle(sums);
      arrive_by_warp(shared.freed(turn.stage));
      turn.next();
    }
    const int64_t place = w / head_tiles;
    const int first_head = w % head_tiles * kHeadTile;
    store_sums(p, place, first_head, 0, sums);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const float sum = sum_of_four(softmax.sum[side]);
      const int head = first_head + slab_row(t, side * 2);
      if (t % 4 == 0 && head < p.heads)
        p.states[place * p.heads + head] = {softmax.largest[side], sum};
    }
  }
}

__device__ __forceinline__ void attend_second(const Shared& shared, const AttendParams& p) {
  const int head_tiles = up_div(p.heads, kHeadTile);
  const int work = *p.count * head_tiles, row = slab_row(threadIdx.x % 128, 0);
  Turn turn;
  uint32_t weights_parity = 0;
  for (int w = blockIdx.x; w < work; w += gridDim.x) {
    const Item item = load_item(p.items, w / head_tiles);
    float sums[128];
#pragma unroll
    for (int i = 0; i < 128; ++i) sums[i] = 0;
    for (int left = item.end - item.begin; left > 0; left -= kTile) {
      const uint32_t values = shared.tile(turn.stage) + 4 * kBoxBytes;
      barrier_wait(shared.filled(turn.stage), turn.parity);
      barrier_wait(shared.weights_filled(), weights_parity);
      weights_parity ^= 1;
      const float shrink[2] = {shared.shrinks[row], shared.shrinks[row + 8]};
      shrink_sums(sums, shrink);
      const uint64_t weights = rows_at(shared.weights);
      warpgroup_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        weigh(sums, weights + k * kSixteenDeeper, values_at(values) + k * kSixteenTokens);
      warpgroup_commit();
      warpgroup_wait<0>();
      settle(sums);
      arrive_by_warp(shared.weights_freed());
      arrive_by_warp(shared.freed(turn.stage));
      turn.next();
    }
    store_sums(p, w / head_tiles, w % head_tiles * kHeadTile, kRank / 2, sums);
  }
}

template <bool kWidens>
__global__ void __launch_bounds__(kThreads, 1)
    attend_kernel(const __grid_constant__ CUtensorMap queries,
                  const __grid_constant__ CUtensorMap latents, const AttendParams p) {
  extern __shared__ uint8_t memory[];
  const uint32_t base = (shared_address(memory) + 1023) & ~1023u;
  const Shared shared = {
      base + Places::kQueries, base + Places::kLatents, base + Places::kWeights,
      base + Places::kBarriers,
      reinterpret_cast<float*>(memory + (base - shared_address(memory)) + Places::kShrinks)};
  const int group = __shfl_sync(~0u, threadIdx.x / 128, 0);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(shared.filled(s), kWidens ? 4 : 1);  // warps that fill
      barrier_init(shared.freed(s), kPairWarps);
    }
    barrier_init(shared.queries_filled(), 1);
    barrier_init(shared.queries_freed(), 4);
    barrier_init(shared.weights_filled(), 4);
    barrier_init(shared.weights_freed(), 4);
    barrier_init_done();
    prefetch_map(queries);
    if (!kWidens) prefetch_map(latents);
  }
  __syncthreads();
  wait_for_previous();
  // 168 registers a thread at the start; 2 x 240 + 24 in use, or 2 x 216 + 72 to widen.
  constexpr int kMultiplies = kWidens ? 216 : 240, kFills = kWidens ? 72 : 24;
  if (group == 0) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplies));
    attend_first(shared, p);
  } else if (group == 1) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplies));
    attend_second(shared, p);
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kFills));
    if constexpr (kWidens)
      widen_all(shared, queries, p);
    else if (threadIdx.x < 2 * 128 + 32)
      copy_all(shared, queries, latents, p);
  }
}

}  // namespace

void attend(CudaDevice& device, const CUtensorMap& queries, const CUtensorMap& latents,
            const AttendParams& p) {
  const int64_t work = int64_t{p.items_most} * up_div(p.heads, kHeadTile);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(work, device.multiprocessors()));
  launch(device, "mla_absorbed: attend",
         p.bytes != nullptr ? attend_kernel<true> : attend_kernel<false>,
         {dim3(blocks), dim3(kThreads), kShared}, queries, latents, p);
}

}  // namespace fathom::cuda::mla
