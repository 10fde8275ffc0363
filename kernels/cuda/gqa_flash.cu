// How do grouped heads attend on the tensor cores? The query heads that share a key-value head
// stand under one another as rows of one product: row f of a run is head f % group of query row f /
// group. A warpgroup copies tiles of 128 positions from the paged cache; one (few rows: every span
// is a work item) or two (prompts: a work item walks over all spans) multiply and keep a running
// softmax, as for expanded latent attention. flash/grouped.h says why no cut shows in the bits.
#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/flash/grouped.h"
#include "kernels/cuda/flash/paged.cuh"
#include "kernels/cuda/flash/ring.cuh"
#include "kernels/cuda/flash/spans.cuh"
#include "kernels/cuda/runtime.h"

namespace fathom::cuda::flash {
namespace {

using namespace gemm;  // barriers and products

template <int kDim_, bool kApart_>
struct Kind {
  static constexpr int kDim = kDim_;
  static constexpr bool kApart = kApart_;
  static constexpr int kGroups = kApart ? 1 : 2;  // warpgroups that multiply
  static constexpr int kBlockRows = 64 * kGroups;
  static constexpr int kThreads = 128 * (kGroups + 1);
  static constexpr int kImage = kTilePositions * kDim * 2;
  static constexpr int kStages = kApart && kDim == 128 ? 3 : kDim == 128 ? 2 : 4;
  static constexpr int kQueries = kBlockRows * kDim * 2;
  static constexpr int kTotals = kApart ? 0 : kBlockRows * kDim * 4;
  static constexpr size_t kShared =
      1024 + kQueries + 2 * kStages * kImage + kTotals + 32 * kStages + 4 * (kRunsAtOnce + 1);
};

template <class K>
__global__ __launch_bounds__(K::kThreads, 1) void attend(const Grouped g) {
  extern __shared__ uint8_t memory[];
  const uint32_t base = (shared_address(memory) + 1023) / 1024 * 1024;
  uint8_t* here = memory + (base - shared_address(memory));
  const uint32_t images = base + K::kQueries;
  const uint32_t values_at = images + K::kStages * K::kImage;
  constexpr int kTotalsAt = K::kQueries + 2 * K::kStages * K::kImage;
  const uint32_t barriers = base + kTotalsAt + K::kTotals;
  auto* before = reinterpret_cast<int32_t*>(here + kTotalsAt + K::kTotals + 32 * K::kStages);
  const Ring<K::kImage> keys{images, barriers, barriers + K::kStages * 8};
  const Ring<K::kImage> values{values_at, barriers + K::kStages * 16, barriers + K::kStages * 24};
  if (threadIdx.x == 0) {
    for (int s = 0; s < K::kStages; ++s) {
      barrier_init(keys.filled(s), 128);
      barrier_init(values.filled(s), 128);
      barrier_init(keys.freed(s), K::kGroups * 4);
      barrier_init(values.freed(s), K::kGroups * 4);
    }
    barrier_init_done();
  }
  wait_for_previous();
  count_items<K>(g, before);
  __syncthreads();
  const int items = before[g.run_count], grid = static_cast<int>(gridDim.x);
  Place<K::kStages> place;

  if (threadIdx.x >= K::kGroups * 128) {
    if constexpr (K::kGroups == 2) asm volatile("setmaxnreg.dec.sync.aligned.u32 72;");
    for (int round = 0; round * grid < items; ++round) {
      const int index = item_of_round(round, static_cast<int>(blockIdx.x), grid);
      if (index >= items) break;
      const Span w = span_at<K>(g, before, index);
      const auto* head = static_cast<const uint16_t*>(g.p.cache.base) +
                         int64_t{g.p.first_kv_head + w.head} * K::kDim;
      const BlockIndex* blocks = g.p.tables.blocks + w.run.first_block;
      for (int tile = w.first; tile < w.last; ++tile, place.next()) {
        const PagedTile at = paged_tile(g.p.cache, blocks, tile * kTilePositions, w.end);
        barrier_wait(keys.freed(place.stage), place.parity ^ 1);
        copy_tile<K::kDim>(keys.stage(place.stage), head, at);
        arrive_when_copied(keys.filled(place.stage));
        barrier_wait(values.freed(place.stage), place.parity ^ 1);
        copy_tile<K::kDim>(values.stage(place.stage), head + int64_t{g.p.cache.heads} * K::kDim,
                           at);
        arrive_when_copied(values.filled(place.stage));
      }
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    return;
  }

  if constexpr (K::kGroups == 2) asm volatile("setmaxnreg.inc.sync.aligned.u32 216;");
  const int side = static_cast<int>(threadIdx.x) / 128;
  const bool leads_warp = threadIdx.x % 32 == 0;
  constexpr int kHalfBytes = 64 * K::kDim * 2;
  const uint32_t queries = base + side * kHalfBytes;
  const float factor = g.p.scale * 1.44269504088896340736f;  // log2(e)
  auto* totals = reinterpret_cast<float*>(here + kTotalsAt) + threadIdx.x;
  // Named barriers: 1 and 2 of a warpgroup alone, 3 and 4 for its turn at the tensor cores.
  const int own = 1 + side, turn = 3 + side, other_turn = 4 - side;
  const auto take_turn = [&] {
    if constexpr (K::kGroups == 2) meet<256>(turn);
  };
  const auto give_turn = [&] {
    if constexpr (K::kGroups == 2) pass<256>(other_turn);
  };
  if (side == 1) give_turn();
  for (int round = 0; round * grid < items; ++round) {
    const int index = item_of_round(round, static_cast<int>(blockIdx.x), grid);
    if (index >= items) break;
    const Span w = span_at<K>(g, before, index);
    const RowPair rows(g, w, side);
    if (w.first >= w.last) {
      if constexpr (!K::kApart) store_zeros<K::kDim>(g, w, rows);
      continue;
    }
    meet<128>(own);  // nobody multiplies with the queries before
    load_queries<K::kDim>(g, w, side, here + side * kHalfBytes);
    meet<128>(own);
    float o[K::kDim / 2], s[64], keep[2];
    uint32_t p[32];
    Running running, total;
    clear(o);
    running = total = {{-INFINITY, -INFINITY}, {0, 0}};

    const auto score = [&](uint32_t image) {
      const uint64_t a = rows_at(queries), b = rows_at(image);
#pragma unroll
      for (int k = 0; k < K::kDim / 16; ++k)
        Product<128>::ab(s, a + k / 4 * (64 * 128 / 16) + k % 4 * kSixteenDeeper,
                         b + k / 4 * (kTilePositions * 128 / 16) + k % 4 * kSixteenDeeper, k > 0);
    };
    const auto add_values = [&](uint32_t image) {
      const uint64_t b = columns_at<kTilePositions * 128>(image);
#pragma unroll
      for (int k = 0; k < kTilePositions / 16; ++k)
        add_product(o, p[4 * k], p[4 * k + 1], p[4 * k + 2], p[4 * k + 3],
                    b + k * kSixteenPositions);
    };
    const auto mask_tile = [&](int tile) {
      if ((tile + 1) * kTilePositions - 1 > rows.unmasked)
        mask(s, rows.position[0] - tile * kTilePositions, rows.position[1] - tile * kTilePositions);
    };

    barrier_wait(keys.filled(place.stage), place.parity);
    show_to_copies();
    take_turn();
    warpgroup_begin();
    score(keys.stage(place.stage));
    warpgroup_commit();
    give_turn();
    warpgroup_wait<0>();
    settle(s);
    if (leads_warp) barrier_arrive(keys.freed(place.stage));
    mask_tile(w.first);
    exponentials<true>(s, factor, running, keep);
    pack_probabilities(s, p);
#pragma unroll 1
    for (int tile = w.first + 1; tile < w.last; ++tile) {
      const Place<K::kStages> last = place;
      place.next();
      barrier_wait(keys.filled(place.stage), place.parity);
      show_to_copies();
      take_turn();
      settle(o);
      settle(s);
      warpgroup_begin();
      score(keys.stage(place.stage));
      warpgroup_commit();
      barrier_wait(values.filled(last.stage), last.parity);
      show_to_copies();
      warpgroup_begin();
      add_values(values.stage(last.stage));
      warpgroup_commit();
      give_turn();
      warpgroup_wait<1>();
      settle(s);
      if (leads_warp) barrier_arrive(keys.freed(place.stage));
      mask_tile(tile);
      const bool opens = !K::kApart && tile % kSpanTiles == 0;
      Running closed = running;
      if (opens) running = {{-INFINITY, -INFINITY}, {0, 0}};
      exponentials<true>(s, factor, running, keep);
      warpgroup_wait<0>();
      settle(o);
      if (leads_warp) barrier_arrive(values.freed(last.stage));
      if (opens) {
        close(closed);
        merge<K::kGroups * 128>(totals, total, o, closed, factor, tile == kSpanTiles);
        clear(o);
      } else {
        rescale(o, keep);
      }
      pack_probabilities(s, p);
    }
    barrier_wait(values.filled(place.stage), place.parity);
    show_to_copies();
    settle(o);
    warpgroup_begin();
    add_values(values.stage(place.stage));
    warpgroup_commit();
    warpgroup_wait<0>();
    settle(o);
    if (leads_warp) barrier_arrive(values.freed(place.stage));
    place.next();
    close(running);
    if constexpr (K::kApart) {
      keep_partial<K::kDim>(g, w, rows, o, running);
    } else {
      if (w.last > kSpanTiles) {
        merge<K::kGroups * 128>(totals, total, o, running, factor, false);
        take_totals<K::kGroups * 128>(totals, o);
        running = total;
      }
      store_rows<K::kDim>(g, w, rows, o, running);
    }
  }
}

// The spans of a row in ascending order; a warp a (row, head). Eight spans are read at a time: one
// after another they would cost a memory latency each (38 us for 64 spans).
template <int kDim>
__global__ __launch_bounds__(128) void merge_spans(const Grouped g, int heads) {
  wait_for_previous();
  const int index = static_cast<int>(blockIdx.x) * 4 + static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (index >= g.p.tables.rows_total * heads) return;
  const int i = index / heads, h = index % heads;
  const int run = g.p.tables.row_runs[i];
  const RowContext at = context_of(g.p.tables, i);
  constexpr int kEach = kDim / 32, kAtOnce = 8;
  float total[kEach] = {}, largest = -INFINITY, sum = 0;
  const float factor = g.p.scale * 1.44269504088896340736f;
  const int f = (at.row - g.p.tables.runs[run].first_row) * g.group + h % g.group;
  const int spans = (at.context + kSpan - 1) / kSpan;
  const int64_t place = g.partial(run, f / 64, h / g.group, 0) + f % 64;
  for (int first = 0; first < spans; first += kAtOnce) {
    float o[kAtOnce][kEach];
    float2 state[kAtOnce];
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
      const int64_t row = place + int64_t{min(first + s, spans - 1)} * g.rows_kept;
      state[s] = reinterpret_cast<const float2*>(g.states)[row];
#pragma unroll
      for (int e = 0; e < kEach; e += 2) {
        const float2 two =
            reinterpret_cast<const float2*>(g.sums)[(row * kDim + lane * kEach + e) / 2];
        o[s][e] = two.x;
        o[s][e + 1] = two.y;
      }
    }
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
      if (first + s >= spans) break;
      if (first + s == 0) {
#pragma unroll
        for (int e = 0; e < kEach; ++e) total[e] = o[s][e];
        largest = state[s].x;
        sum = state[s].y;
        continue;
      }
      const Merged m = merged(largest, state[s].x, factor);
#pragma unroll
      for (int e = 0; e < kEach; ++e) total[e] = fmaf(o[s][e], m.take, total[e] * m.keep);
      sum = fmaf(state[s].y, m.take, sum * m.keep);
      largest = m.largest;
    }
  }
  const float inverse = at.context == 0 ? 0.0f : 1.0f / sum;
#pragma unroll
  for (int e = 0; e < kEach; ++e)
    store(g.p.out, g.p.out_dtype, at.row * g.p.out_stride + int64_t{h} * kDim + lane * kEach + e,
          total[e] * inverse);
}

template <int kDim>
void run(const OpContext& ctx, Grouped g, bool apart) {
  CudaDevice& device = device_of(ctx);
  const AttentionTables& t = g.p.tables;
  for (g.first_run = 0; g.first_run < t.count; g.first_run += kRunsAtOnce) {
    g.run_count = std::min(kRunsAtOnce, t.count - g.first_run);
    const int64_t blocks =
        std::min<int64_t>(int64_t{g.run_count} * g.blocks_most, int64_t{t.rows_total} * g.group);
    const int64_t items = blocks * g.p.kv_heads * (apart ? g.spans_most : 1);
    const auto grid = static_cast<unsigned>(std::min<int64_t>(items, device.multiprocessors()));
    if (apart) {
      using K = Kind<kDim, true>;
      launch(device, "gqa", attend<K>, {grid, K::kThreads, K::kShared}, g);
    } else {
      using K = Kind<kDim, false>;
      launch(device, "gqa", attend<K>, {grid, K::kThreads, K::kShared}, g);
    }
  }
  if (apart)
    launch(device, "gqa", merge_spans<kDim>,
           {static_cast<unsigned>(ceil_div(int64_t{t.rows_total} * g.p.heads, 4)), 128}, g,
           g.p.heads);
}

}  // namespace

bool takes(const OpContext& ctx, const GqaParams& p) {
  const auto aligned = [](const void* at, int64_t stride, int64_t to) {
    return reinterpret_cast<uintptr_t>(at) % static_cast<uintptr_t>(to) == 0 && stride % to == 0;
  };
  return ctx.compute == Compute::bfloat16 && p.cache.dtype == DType::bf16 &&
         (p.cache.dim == 64 || p.cache.dim == 128) &&
         aligned(p.cache.base, p.cache.block_stride * 2, 16) && aligned(p.q, p.q_stride * 4, 16) &&
         aligned(p.out, p.out_stride * 2, 4) && reinterpret_cast<uintptr_t>(p.out) % 8 == 0;
}

void gqa(const OpContext& ctx, const GqaParams& p, Spans spans) {
  constexpr int64_t kMostBytes = int64_t{256} << 20;  // of partial results
  const AttentionTables& t = p.tables;
  Grouped g{.p = p, .group = p.heads / p.kv_heads};
  const int64_t rows_most = int64_t{t.rows_max} * g.group;
  g.blocks_most = static_cast<int32_t>(ceil_div(rows_most, 64));
  g.spans_most = static_cast<int32_t>(std::max<int64_t>(1, ceil_div(t.context_max, kSpan)));
  g.rows_kept = static_cast<int32_t>(std::min<int64_t>(64, rows_most));
  const int64_t kept = g.partial(t.count, 0, 0, 0);  // rows
  const int64_t bytes = kept * (p.cache.dim + 2) * 4;
  const int64_t items = int64_t{t.count} * ceil_div(rows_most, 128) * p.kv_heads;
  bool apart = spans == Spans::apart;
  if (spans == Spans::automatic)
    apart = rows_most <= 64 ||
            (items < device_of(ctx).multiprocessors() && g.spans_most > 1 && bytes <= kMostBytes);
  if (apart) {
    g.sums = static_cast<float*>(
        ctx.scratch->take(static_cast<size_t>(kept * p.cache.dim) * sizeof(float)));
    g.states =
        static_cast<float*>(ctx.scratch->take(static_cast<size_t>(kept * 2) * sizeof(float)));
  } else {
    g.blocks_most = static_cast<int32_t>(ceil_div(rows_most, 128));
  }
  p.cache.dim == 64 ? run<64>(ctx, g, apart) : run<128>(ctx, g, apart);
}

}  // namespace fathom::cuda::flash
