// How do the rows of a prompt attend to expanded keys and values at the speed of the tensor cores?
// A thread block takes 128 query rows of a run and one head: one thread streams tiles of 128
// positions (keys: 128 columns of the head's own and 64 rope columns all heads share; values)
// through two stages, two warpgroups of 64 rows each keep a running softmax. A warpgroup's next
// scores are multiplied while it makes probabilities of the last, and the two take turns, so the
// tensor cores seldom wait. Tiles come in ascending order from position 0 on and sums behind a
// row's own position add zero: a row's bits do not depend on where its prompt was cut.
#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flash/expanded.h"
#include "kernels/cuda/flash/places.h"
#include "kernels/cuda/flash/ring.cuh"
#include "kernels/cuda/flash/softmax.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::flash {
namespace {

using namespace gemm;  // barriers and products

constexpr int kThreads = 384;
constexpr int kStages = 2;
constexpr int kWidth = kNope + kRope;
constexpr int kQueryBytes = kRows * kWidth * 2;
constexpr int kKeyBytes = static_cast<int>(kPartImage + kRopeImage);
constexpr int kValueBytes = static_cast<int>(kPartImage);
constexpr size_t kShared = 1024 + kQueryBytes + kStages * (kKeyBytes + kValueBytes) + kStages * 32;
constexpr int kHalfRows = 64;
constexpr int kHalfPiece = kHalfRows * 128;

// 128 query rows of one run and a head, over the run's tiles in this window.
struct Work {
  AttentionRun run;
  int head;         // of the window's
  int first_row;    // of the run
  int position;     // of that row
  int first, last;  // tiles [first, last) of the run
  int tiles;        // of all windows
  int slot;         // in the window, of tile `first`
  int64_t state;    // its place among states
};

__device__ __forceinline__ Work work_at(const Expanded& e, int index, int blocks) {
  const AttentionTables& t = e.p.tables;
  const Item item = item_at(index, e.head_count, blocks);
  const int run = owner_of(e.blocks_before, t.count, item.block);
  Work w;
  w.run = t.runs[run];
  w.head = item.head;
  w.first_row = (item.block - e.blocks_before[run]) * kRows;
  w.position = w.run.position + w.first_row;
  w.tiles = tiles_of(w.position + min(kRows, w.run.rows - w.first_row));
  const int shift = e.window * e.window_tiles - e.tiles_before[run];  // the run's tile at slot 0
  w.first = max(0, shift);
  w.last = min(w.tiles, shift + e.window_tiles);
  w.slot = w.first - shift;
  w.state = (int64_t{item.block} * e.head_count + item.head) * kStateFloats;
  return w;
}

struct Tiles {
  Ring<kKeyBytes> keys;
  Ring<kValueBytes> values;
};

__device__ __forceinline__ void feed(const Expanded& e, const Tiles& tiles, int blocks) {
  Place<kStages> place;
  const int items = blocks * e.head_count, grid = static_cast<int>(gridDim.x);
  for (int round = 0; round * grid < items; ++round) {
    const int index = item_of_round(round, static_cast<int>(blockIdx.x), grid);
    if (index >= items) break;
    const Work w = work_at(e, index, blocks);
    for (int tile = w.first; tile < w.last; ++tile, place.next()) {
      const int64_t slot = w.slot + tile - w.first;
      const uint8_t* image = e.heads + (slot * e.head_count + w.head) * kHeadImage;
      const uint32_t keys = tiles.keys.stage(place.stage), values = tiles.values.stage(place.stage);
      const uint32_t come = tiles.keys.filled(place.stage), here = tiles.values.filled(place.stage);
      barrier_wait(tiles.keys.freed(place.stage), place.parity ^ 1);
      barrier_expect(come, kKeyBytes);
      copy_bytes(keys, image, kPartImage, come);
      copy_bytes(keys + kPartImage, e.ropes + slot * kRopeImage, kRopeImage, come);
      barrier_wait(tiles.values.freed(place.stage), place.parity ^ 1);
      barrier_expect(here, kValueBytes);
      copy_bytes(values, image + kPartImage, kPartImage, here);
    }
  }
}

// This warpgroup's 64 query rows as bf16 in three pieces of 64 columns. Rows behind the run's end
// are copies of its last.
__device__ __forceinline__ void load_queries(const Expanded& e, const Work& w, int side,
                                             uint8_t* to) {
  const int t = static_cast<int>(threadIdx.x) % 128;
  constexpr int kChunks = kWidth / 8;
#pragma unroll 6  // twelve loads under way at once
  for (int n = 0; n < kHalfRows * kChunks / 128; ++n) {
    const int i = t + n * 128;
    const int row = i / kChunks, chunk = i % kChunks;
    const int of_run = min(w.first_row + side * kHalfRows + row, w.run.rows - 1);
    const auto* q =
        reinterpret_cast<const float4*>(e.p.q + (w.run.first_row + of_run) * e.p.q_stride +
                                        int64_t{e.first_head + w.head} * kWidth + chunk * 8);
    const float4 a = q[0], b = q[1];
    *reinterpret_cast<uint4*>(to + chunk_place(kHalfRows, row, chunk)) = {
        pack(a.x, a.y), pack(a.z, a.w), pack(b.x, b.y), pack(b.z, b.w)};
  }
  show_to_copies();
}

__device__ __forceinline__ void score(float (&s)[64], uint32_t queries, uint32_t keys) {
  const uint64_t a = rows_at(queries), b = rows_at(keys);
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k)
    Product<128>::ab(s, a + k / 4 * (kHalfPiece / 16) + k % 4 * kSixteenDeeper,
                     b + k / 4 * (kPiece / 16) + k % 4 * kSixteenDeeper, k > 0);
}

__device__ __forceinline__ void add_values(float (&o)[64], const uint32_t (&p)[32],
                                           uint32_t values) {
  const uint64_t b = columns_at<kPiece>(values);
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k)
    add_product(o, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3], b + k * kSixteenPositions);
}

__device__ __forceinline__ void load_state(const float* state, float (&o)[64], Running& running) {
#pragma unroll
  for (int i = 0; i < 64; ++i) o[i] = state[i * 256 + threadIdx.x];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    running.largest[h] = state[(64 + h) * 256 + threadIdx.x];
    running.sum[h] = state[(66 + h) * 256 + threadIdx.x];
  }
}
__device__ __forceinline__ void save_state(float* state, const float (&o)[64],
                                           const Running& running) {
#pragma unroll
  for (int i = 0; i < 64; ++i) state[i * 256 + threadIdx.x] = o[i];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    state[(64 + h) * 256 + threadIdx.x] = running.largest[h];
    state[(66 + h) * 256 + threadIdx.x] = running.sum[h];
  }
}

__device__ __forceinline__ void store_out(const Expanded& e, const Work& w, int side,
                                          const float (&o)[64], const Running& running) {
  const int t = static_cast<int>(threadIdx.x) % 128;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float sum = running.sum[h];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    const float factor = 1.0f / sum;
    const int of_run = w.first_row + side * kHalfRows + slab_row(t, 2 * h);
    if (of_run >= w.run.rows) continue;
    const int64_t at = (w.run.first_row + of_run) * e.p.out_stride +
                       int64_t{e.first_head + w.head} * kValue + t % 4 * 2;
    if (e.p.out_dtype == DType::bf16) {
      auto* out = static_cast<uint16_t*>(e.p.out) + at;
#pragma unroll
      for (int i = 0; i < 16; ++i)
        *reinterpret_cast<uint32_t*>(out + i * 8) =
            pack(o[i * 4 + 2 * h] * factor, o[i * 4 + 2 * h + 1] * factor);
    } else {
      auto* out = static_cast<float*>(e.p.out) + at;
#pragma unroll
      for (int i = 0; i < 16; ++i)
        *reinterpret_cast<float2*>(out + i * 8) = {o[i * 4 + 2 * h] * factor,
                                                   o[i * 4 + 2 * h + 1] * factor};
    }
  }
}

__global__ __launch_bounds__(kThreads, 1) void attend(const Expanded e) {
  extern __shared__ uint8_t memory[];
  const uint32_t base = (shared_address(memory) + 1023) / 1024 * 1024;
  uint8_t* queries_here = memory + (base - shared_address(memory));
  const uint32_t keys = base + kQueryBytes, values = keys + kStages * kKeyBytes;
  const uint32_t barriers = values + kStages * kValueBytes;
  const Tiles tiles{{keys, barriers, barriers + kStages * 8},
                    {values, barriers + kStages * 16, barriers + kStages * 24}};
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(tiles.keys.filled(s), 1);
      barrier_init(tiles.values.filled(s), 1);
      barrier_init(tiles.keys.freed(s), 8);
      barrier_init(tiles.values.freed(s), 8);
    }
    barrier_init_done();
  }
  __syncthreads();
  wait_for_previous();
  const int blocks = e.blocks_before[e.p.tables.count];
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 256) feed(e, tiles, blocks);
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  const int side = static_cast<int>(threadIdx.x) / 128;
  const bool leads_warp = threadIdx.x % 32 == 0;
  const uint32_t queries = base + side * (kQueryBytes / 2);
  const float factor = e.p.scale * 1.44269504088896340736f;  // log2(e)
  // Named barriers: 1 and 2 of a warpgroup alone, 3 and 4 for its turn at the tensor cores.
  const int own = 1 + side, turn = 3 + side, other_turn = 4 - side;
  if (side == 1) pass<256>(other_turn);
  Place<kStages> place;
  const int items = blocks * e.head_count, grid = static_cast<int>(gridDim.x);
  for (int round = 0; round * grid < items; ++round) {
    const int index = item_of_round(round, static_cast<int>(blockIdx.x), grid);
    if (index >= items) break;
    const Work w = work_at(e, index, blocks);
    if (w.first >= w.last) continue;
    meet<128>(own);  // nobody multiplies with the queries before
    load_queries(e, w, side, queries_here + side * (kQueryBytes / 2));
    meet<128>(own);
    float o[64], s[64], keep[2];
    Running running;
    if (w.first == 0) {
#pragma unroll
      for (int i = 0; i < 64; ++i) o[i] = 0;
      running = {{-INFINITY, -INFINITY}, {0, 0}};
    } else {
      load_state(e.states + w.state, o, running);
    }
    const int row = w.position + side * kHalfRows + slab_row(threadIdx.x % 128, 0);
    const int unmasked = w.position + side * kHalfRows;  // the first row's position
    uint32_t p[32];

    barrier_wait(tiles.keys.filled(place.stage), place.parity);
    meet<256>(turn);
    warpgroup_begin();
    score(s, queries, tiles.keys.stage(place.stage));
    warpgroup_commit();
    pass<256>(other_turn);
    warpgroup_wait<0>();
    settle(s);
    if (leads_warp) barrier_arrive(tiles.keys.freed(place.stage));
    if ((w.first + 1) * kRows - 1 > unmasked)
      mask(s, row - w.first * kRows, row + 8 - w.first * kRows);
    exponentials<false>(s, factor, running, keep);
    rescale(o, keep);
    pack_probabilities(s, p);
#pragma unroll 1
    for (int tile = w.first + 1; tile < w.last; ++tile) {
      Place<kStages> before = place;
      place.next();
      barrier_wait(tiles.keys.filled(place.stage), place.parity);
      meet<256>(turn);
      settle(o);
      settle(s);
      warpgroup_begin();
      score(s, queries, tiles.keys.stage(place.stage));
      warpgroup_commit();
      barrier_wait(tiles.values.filled(before.stage), before.parity);
      warpgroup_begin();
      add_values(o, p, tiles.values.stage(before.stage));
      warpgroup_commit();
      pass<256>(other_turn);
      warpgroup_wait<1>();
      settle(s);
      if (leads_warp) barrier_arrive(tiles.keys.freed(place.stage));
      if ((tile + 1) * kRows - 1 > unmasked) mask(s, row - tile * kRows, row + 8 - tile * kRows);
      exponentials<false>(s, factor, running, keep);
      warpgroup_wait<0>();
      settle(o);
      if (leads_warp) barrier_arrive(tiles.values.freed(before.stage));
      rescale(o, keep);
      pack_probabilities(s, p);
    }
    barrier_wait(tiles.values.filled(place.stage), place.parity);
    settle(o);
    warpgroup_begin();
    add_values(o, p, tiles.values.stage(place.stage));
    warpgroup_commit();
    warpgroup_wait<0>();
    settle(o);
    if (leads_warp) barrier_arrive(tiles.values.freed(place.stage));
    place.next();
    if (w.last < w.tiles)
      save_state(e.states + w.state, o, running);
    else
      store_out(e, w, side, o, running);
  }
}

}  // namespace

void attend_tiles(const OpContext& ctx, const Expanded& e) {
  const int64_t most = int64_t{e.blocks_most} * e.head_count;
  const auto grid =
      static_cast<unsigned>(std::min<int64_t>(device_of(ctx).multiprocessors(), most));
  launch(device_of(ctx), "mla_expanded", attend, {grid, kThreads, kShared}, e);
}

}  // namespace fathom::cuda::flash
