// How do latents become keys and values? A product in bf16 per (tile of 128 positions, head): the
// tile's latents stay in shared memory (128 KB) while the heads' rows of kv_b stream past them in
// pieces of 64 ranks. One warpgroup makes keys, the other values, in turns: while one multiplies,
// the other rounds to bf16 and stores. Each has stages of its own: in shared ones a warpgroup could
// wait for a fill two ahead of the last, whose parity looks like it has come. A rank's order of
// summing is ascending everywhere.
#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flash/expanded.h"
#include "kernels/cuda/flash/places.h"
#include "kernels/cuda/flash/ptx.cuh"
#include "kernels/cuda/flash/ring.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::flash {
namespace {

using namespace gemm;  // barriers and products

constexpr int kStages = 3;  // of each warpgroup
constexpr int kThreads = 384;
constexpr size_t kShared = 1024 + kLatentImage + 2 * kStages * kPiece + 8 * (4 * kStages + 2);

struct Units {  // of the window: (tile, head), heads of a tile one after another
  int begin, end;
};
__device__ Units units_of(const Expanded& e) {
  const int tiles =
      min(e.window_tiles, e.tiles_before[e.p.tables.count] - e.window * e.window_tiles);
  const int64_t units = tiles > 0 ? int64_t{tiles} * e.head_count : 0;
  return {static_cast<int>(units * blockIdx.x / gridDim.x),
          static_cast<int>(units * (blockIdx.x + 1) / gridDim.x)};
}

// 4 x 4 words of four neighbouring threads change places: word j of thread i for word i of thread
// j.
__device__ __forceinline__ void transpose_quad(uint32_t (&w)[4]) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
  const uint32_t x = __shfl_xor_sync(~0u, odd ? w[0] : w[1], 1);
  const uint32_t y = __shfl_xor_sync(~0u, odd ? w[2] : w[3], 1);
  (odd ? w[0] : w[1]) = x;
  (odd ? w[2] : w[3]) = y;
  const uint32_t u = __shfl_xor_sync(~0u, upper ? w[0] : w[2], 2);
  const uint32_t v = __shfl_xor_sync(~0u, upper ? w[1] : w[3], 2);
  (upper ? w[0] : w[2]) = u;
  (upper ? w[1] : w[3]) = v;
}

// 64 rows from `row` on of an image of 128 x 128.
__device__ __forceinline__ void store_image(uint8_t* image, int row, const float (&d)[64]) {
  const int t = static_cast<int>(threadIdx.x) % 128;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = row + slab_row(t, 2 * half);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t w[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        w[i] = pack(d[(j * 4 + i) * 4 + 2 * half], d[(j * 4 + i) * 4 + 2 * half + 1]);
      transpose_quad(w);
      *reinterpret_cast<uint4*>(image + chunk_place(kRows, at, j * 4 + t % 4)) = {w[0], w[1], w[2],
                                                                                  w[3]};
    }
  }
}

__global__ __launch_bounds__(kThreads, 1) void expand(const Expanded e) {
  extern __shared__ uint8_t memory[];
  const uint32_t latents = (shared_address(memory) + 1023) / 1024 * 1024;
  const uint32_t stages = latents + static_cast<uint32_t>(kLatentImage);
  const uint32_t barriers = stages + 2 * kStages * kPiece;
  const auto ring_of = [&](int part) {
    const uint32_t own = barriers + part * 2 * kStages * 8;
    return Ring<kPiece>{stages + part * kStages * kPiece, own, own + kStages * 8};
  };
  const uint32_t latents_come = barriers + 4 * kStages * 8, latents_free = latents_come + 8;
  if (threadIdx.x == 0) {
    for (int part = 0; part < 2; ++part)
      for (int s = 0; s < kStages; ++s) {
        barrier_init(ring_of(part).filled(s), 1);
        barrier_init(ring_of(part).freed(s), 4);  // the warps of the one warpgroup that reads it
      }
    barrier_init(latents_come, 1);
    barrier_init(latents_free, 8);
    barrier_init_done();
  }
  __syncthreads();
  wait_for_previous();
  const Units units = units_of(e);
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x != 256) return;
    int tile = -1;
    uint32_t parity = 1;
    Place<kStages> turns[2];
    for (int u = units.begin; u < units.end; ++u) {
      if (u / e.head_count != tile) {
        tile = u / e.head_count;
        barrier_wait(latents_free, parity);
        parity ^= 1;
        barrier_expect(latents_come, kLatentImage);
        for (int piece = 0; piece < kLatentPieces; ++piece)
          copy_bytes(latents + piece * kPiece, e.latents + tile * kLatentImage + piece * kPiece,
                     kPiece, latents_come);
      }
      const uint8_t* from = e.weights + (e.first_head + u % e.head_count) * kWeightImage;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const Ring<kPiece> ring = ring_of(part);
        Place<kStages>& turn = turns[part];
        for (int piece = 0; piece < kLatentPieces; ++piece, turn.next()) {
          barrier_wait(ring.freed(turn.stage), turn.parity ^ 1);
          barrier_expect(ring.filled(turn.stage), kPiece);
          copy_bytes(ring.stage(turn.stage), from + (part * kLatentPieces + piece) * kPiece, kPiece,
                     ring.filled(turn.stage));
        }
      }
    }
    return;
  }
  asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
  const int part = static_cast<int>(threadIdx.x) / 128;
  const bool leads_warp = threadIdx.x % 32 == 0;
  const Ring<kPiece> ring = ring_of(part);
  Place<kStages> turn;
  int tile = -1;
  uint32_t parity = 0;
  for (int u = units.begin; u < units.end; ++u) {
    if (u / e.head_count != tile) {
      tile = u / e.head_count;
      barrier_wait(latents_come, parity);
      parity ^= 1;
    }
    float d[2][64];
    int before = -1;
#pragma unroll 1
    for (int piece = 0; piece < kLatentPieces; ++piece, turn.next()) {
      barrier_wait(ring.filled(turn.stage), turn.parity);
      const uint64_t a = rows_at(latents + piece * kPiece), b = rows_at(ring.stage(turn.stage));
      settle(d[0]);
      settle(d[1]);
      warpgroup_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int m = 0; m < 2; ++m)
          Product<128>::ab(d[m], a + m * (kPiece / 2 / 16) + k * kSixteenDeeper,
                           b + k * kSixteenDeeper, piece + k > 0);
      warpgroup_commit();
      warpgroup_wait<1>();
      if (before >= 0 && leads_warp) barrier_arrive(ring.freed(before));
      before = turn.stage;
    }
    warpgroup_wait<0>();
    settle(d[0]);
    settle(d[1]);
    if (leads_warp) {
      barrier_arrive(ring.freed(before));
      if (u + 1 == units.end || (u + 1) / e.head_count != tile) barrier_arrive(latents_free);
    }
    uint8_t* image = e.heads + u * kHeadImage + part * kPartImage;
    store_image(image, 0, d[0]);
    store_image(image, 64, d[1]);
  }
}

}  // namespace

void expand_tiles(const OpContext& ctx, const Expanded& e) {
  const int64_t most = int64_t{e.window_tiles} * e.head_count;
  const auto grid =
      static_cast<unsigned>(std::min<int64_t>(device_of(ctx).multiprocessors(), most));
  launch(device_of(ctx), "mla_expanded", expand, {grid, kThreads, kShared}, e);
}

}  // namespace fathom::cuda::flash
